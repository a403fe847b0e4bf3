-- What the tables of every room rest on. The server checks beforehand that pgvector >= 0.8 is installed or can be.
CREATE EXTENSION IF NOT EXISTS vector;
