-- The layers of memory above raw messages: sessions, distilled memories, summaries, tombstones, and vectors of messages.
-- Per-bot tables are LIST partitions like those of V4: {namespace}_memories, _summaries, _forgotten and _vectors beside
-- {namespace}_messages. They are created when a bot's namespace is next opened.

-- One conversation, opened and closed by what is said. No foreign key points here: messages and sessions are written in
-- one transaction by one room, and a key would make purging a bot scan the messages of all others.
CREATE TABLE sessions (
    id               uuid        PRIMARY KEY,
    bot_id           text        NOT NULL,
    user_id          text,
    started_at       timestamptz NOT NULL,
    last_activity_at timestamptz NOT NULL,
    ended_at         timestamptz,
    status           text        NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'completed')),
    closed_reason    text        CHECK (closed_reason IN ('gap', 'reset', 'explicit', 'shutdown', 'recovered', 'imported')),
    message_count    integer     NOT NULL DEFAULT 0,
    participants     text[]      NOT NULL DEFAULT '{}',
    metadata         jsonb,
    CHECK ((status = 'completed') = (ended_at IS NOT NULL))
);

-- What makes two writers agree on the open session of a bot and a user.
CREATE UNIQUE INDEX sessions_active ON sessions (bot_id, coalesce(user_id, '')) WHERE status = 'active';
CREATE INDEX sessions_of_bot ON sessions (bot_id, started_at DESC, id);
CREATE INDEX sessions_newest ON sessions (started_at DESC, id);
CREATE INDEX sessions_participants ON sessions USING gin (participants);

-- What was learnt. Active rows have no successor; a superseded row stays for the record and is never searched.
CREATE TABLE memories (
    bot_id              text        NOT NULL,
    id                  uuid        NOT NULL,
    seq                 bigint      NOT NULL GENERATED ALWAYS AS IDENTITY,
    content             text        NOT NULL CHECK (content ~ '\S' AND char_length(content) <= 4000),
    content_norm        text        NOT NULL
                        GENERATED ALWAYS AS (lower(btrim(regexp_replace(content, '\s+', ' ', 'g')))) STORED,
    tags                text[]      NOT NULL DEFAULT '{misc}' CHECK (cardinality(tags) BETWEEN 1 AND 64),
    importance          real        NOT NULL DEFAULT 0.5 CHECK (importance BETWEEN 0 AND 1),
    confidence          real        NOT NULL DEFAULT 1 CHECK (confidence BETWEEN 0 AND 1),
    source_message_ids  uuid[]      NOT NULL DEFAULT '{}',
    source_summary_ids  uuid[]      NOT NULL DEFAULT '{}',
    user_id             text,
    intent              text,
    stakes              text,
    emotional_charge    real        CHECK (emotional_charge BETWEEN 0 AND 1),
    recurrence_keywords text[]      NOT NULL DEFAULT '{}',
    meaning_updated_at  timestamptz,
    access_count        integer     NOT NULL DEFAULT 0,
    last_accessed_at    timestamptz,
    superseded_by       uuid        CHECK (superseded_by <> id),
    superseded_at       timestamptz,
    supersede_reason    text        CHECK (supersede_reason IN ('update', 'contradiction', 'consolidation', 'manual')),
    embedding           vector(384),
    meaning_embedding   vector(384),
    embedding_model     text,
    metadata            jsonb,
    content_tsv         tsvector    GENERATED ALWAYS AS (to_tsvector('english', content)) STORED,
    created_at          timestamptz NOT NULL DEFAULT now(),
    updated_at          timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (bot_id, id)
) PARTITION BY LIST (bot_id);

-- One text once, but for each person apart: 'likes tea' may be true of two.
CREATE UNIQUE INDEX memories_said_once ON memories (bot_id, md5(content_norm), coalesce(user_id, ''))
    WHERE superseded_by IS NULL;
CREATE INDEX memories_nearest ON memories USING hnsw (embedding vector_cosine_ops)
    WITH (m = 16, ef_construction = 64) WHERE superseded_by IS NULL;
CREATE INDEX memories_nearest_meaning ON memories USING hnsw (meaning_embedding vector_cosine_ops)
    WITH (m = 16, ef_construction = 64) WHERE superseded_by IS NULL;
CREATE INDEX memories_tags ON memories USING gin (tags);
CREATE INDEX memories_sources ON memories USING gin (source_message_ids);
CREATE INDEX memories_words ON memories USING gin (content_tsv);
-- Counting an access must not touch an index: every update that does is entered into both HNSW indexes again.
CREATE INDEX memories_by_importance ON memories (bot_id, importance DESC, created_at DESC)
    WHERE superseded_by IS NULL;
CREATE INDEX memories_changed ON memories (bot_id, updated_at);
CREATE INDEX memories_predecessors ON memories (bot_id, superseded_by) WHERE superseded_by IS NOT NULL;
CREATE INDEX memories_to_embed ON memories (bot_id, seq) WHERE embedding IS NULL AND superseded_by IS NULL;
ALTER TABLE memories ADD CONSTRAINT memories_superseded_by_fkey FOREIGN KEY (bot_id, superseded_by)
    REFERENCES memories (bot_id, id) ON DELETE SET NULL (superseded_by);

-- What stands in for messages that no longer fit into the context. Coverage is messages.summary_id.
CREATE TABLE summaries (
    bot_id          text        NOT NULL,
    id              uuid        NOT NULL,
    level           smallint    NOT NULL DEFAULT 0 CHECK (level IN (0, 1)),
    parent_id       uuid        CHECK (parent_id <> id),
    period          tstzrange   NOT NULL CHECK (NOT isempty(period)),
    message_count   integer     NOT NULL DEFAULT 0,
    chunk_no        smallint    NOT NULL DEFAULT 1,
    chunk_count     smallint    NOT NULL DEFAULT 1,
    content         text        NOT NULL CHECK (content ~ '\S'),
    sections        jsonb       NOT NULL DEFAULT '{}',
    method          text        NOT NULL CHECK (method IN ('llm', 'llm-batch', 'heuristic', 'heuristic-fallback')),
    model           text,
    token_estimate  integer     NOT NULL DEFAULT 0,
    state           text        NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'stale', 'replaced')),
    stale_reason    text,
    idempotency_key text,
    redo_after      timestamptz,
    user_id         text,
    session_id      uuid,
    extracted_at    timestamptz,
    created_at      timestamptz NOT NULL DEFAULT now(),
    updated_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (bot_id, id)
) PARTITION BY LIST (bot_id);

CREATE INDEX summaries_newest ON summaries (bot_id, upper(period) DESC, id);
CREATE INDEX summaries_period ON summaries USING gist (period);
CREATE INDEX summaries_to_extract ON summaries (bot_id) WHERE extracted_at IS NULL AND state = 'active';
CREATE INDEX summaries_to_redo ON summaries (bot_id, redo_after) WHERE redo_after IS NOT NULL;
CREATE INDEX summaries_stale ON summaries (bot_id) WHERE state = 'stale';
CREATE INDEX summaries_children ON summaries (bot_id, parent_id) WHERE parent_id IS NOT NULL;
CREATE UNIQUE INDEX summaries_once ON summaries (bot_id, idempotency_key)
    WHERE idempotency_key IS NOT NULL AND state <> 'replaced';
ALTER TABLE summaries ADD CONSTRAINT summaries_parent_id_fkey FOREIGN KEY (bot_id, parent_id)
    REFERENCES summaries (bot_id, id) ON DELETE SET NULL (parent_id);

-- Tombstones: complete rows of what was forgotten, until they are restored or expire. `links` says what else pointed at
-- the row, so that a restore puts everything back where it was.
CREATE TABLE forgotten (
    bot_id       text        NOT NULL,
    kind         text        NOT NULL CHECK (kind IN ('message', 'memory')),
    id           uuid        NOT NULL,
    batch_id     uuid        NOT NULL,
    reason       text        NOT NULL CHECK (reason IN ('user', 'tool', 'decay', 'orphan', 'admin')),
    payload      jsonb       NOT NULL,
    links        jsonb,
    original_ts  timestamptz NOT NULL,
    forgotten_at timestamptz NOT NULL DEFAULT now(),
    forgotten_by text,
    PRIMARY KEY (bot_id, kind, id)
) PARTITION BY LIST (bot_id);

CREATE INDEX forgotten_batches ON forgotten (bot_id, batch_id);
CREATE INDEX forgotten_newest ON forgotten (bot_id, forgotten_at DESC);
CREATE INDEX forgotten_order ON forgotten (bot_id, kind, original_ts);

-- Vectors of messages, in a table of their own so that writing them never rewrites a message: `embedding` of the text
-- alone, `context_embedding` of the text among its neighbours of the same session.
CREATE TABLE message_vectors (
    bot_id            text         NOT NULL,
    message_id        uuid         NOT NULL,
    model             text         NOT NULL,
    embedding         halfvec(384) NOT NULL,
    context_embedding halfvec(384) NOT NULL,
    ts                timestamptz  NOT NULL,
    PRIMARY KEY (bot_id, message_id)
) PARTITION BY LIST (bot_id);

CREATE INDEX message_vectors_nearest ON message_vectors USING hnsw (embedding halfvec_cosine_ops)
    WITH (m = 16, ef_construction = 64);
CREATE INDEX message_vectors_nearest_context ON message_vectors USING hnsw (context_embedding halfvec_cosine_ops)
    WITH (m = 16, ef_construction = 64);
ALTER TABLE message_vectors ADD CONSTRAINT message_vectors_message_fkey FOREIGN KEY (bot_id, message_id)
    REFERENCES messages (bot_id, id) ON DELETE CASCADE;

-- Messages that wait for their vectors. `stamp` changes whenever the text does: whoever embedded an earlier text finds the
-- stamp changed and leaves the row.
CREATE TABLE message_embedding_queue (
    bot_id     text   NOT NULL,
    seq        bigint NOT NULL,
    message_id uuid   NOT NULL,
    stamp      bigint NOT NULL GENERATED BY DEFAULT AS IDENTITY,
    PRIMARY KEY (bot_id, seq)
);

INSERT INTO message_embedding_queue (bot_id, seq, message_id)
SELECT bot_id, seq, id FROM messages WHERE role IN ('user', 'assistant');

-- Raw messages learn of sessions and summaries. Of very long texts fewer words are indexed than before: a tsvector holds
-- one megabyte, and texts of many short or hyphenated words in a script with long encodings need up to five times their
-- length, so that 500,000 characters could be refused.
ALTER TABLE messages DROP COLUMN content_tsv;
ALTER TABLE messages ADD COLUMN content_tsv tsvector GENERATED ALWAYS AS (to_tsvector('english',
    CASE WHEN octet_length(content) <= 200000 THEN content
         ELSE left(content, (200000::bigint * char_length(content) / octet_length(content))::integer) END)) STORED;
CREATE INDEX messages_words ON messages USING gin (content_tsv);
CREATE INDEX messages_of_session ON messages (bot_id, session_id, ts, seq);
CREATE INDEX messages_unsummarised ON messages (bot_id, ts, seq) WHERE summary_id IS NULL;
CREATE INDEX messages_summarised ON messages (bot_id, summary_id) WHERE summary_id IS NOT NULL;
CREATE INDEX messages_claimed ON messages (bot_id, lease_until) WHERE extraction_state = 'claimed';
CREATE INDEX messages_of_turn ON messages (bot_id, turn_id) WHERE turn_id IS NOT NULL;
ALTER TABLE messages ADD CONSTRAINT messages_summary_id_fkey FOREIGN KEY (bot_id, summary_id)
    REFERENCES summaries (bot_id, id) ON DELETE SET NULL (summary_id);
