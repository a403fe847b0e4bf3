-- Raw messages. One LIST partition per bot, named {namespace}_messages: each bot has its own small indexes, every
-- statement is static with bot_id as a parameter, and dropping a bot is dropping a table.

CREATE TABLE messages (
    bot_id              text        NOT NULL,
    id                  uuid        NOT NULL,
    role                text        NOT NULL CHECK (role IN ('user', 'assistant', 'system', 'tool')),
    content             text        NOT NULL CHECK (content ~ '\S'),
    ts                  timestamptz NOT NULL,
    seq                 bigint      NOT NULL GENERATED ALWAYS AS IDENTITY,
    user_id             text,
    session_id          uuid,
    turn_id             text,
    status              text        NOT NULL DEFAULT 'complete' CHECK (status IN ('complete', 'partial')),
    metadata            jsonb,
    extraction_state    text        NOT NULL DEFAULT 'pending'
                        CHECK (extraction_state IN ('pending', 'claimed', 'done', 'failed', 'excluded')),
    extraction_attempts smallint    NOT NULL DEFAULT 0,
    lease_until         timestamptz,
    summary_id          uuid,
    recalled_at         timestamptz,
    content_tsv         tsvector    GENERATED ALWAYS AS (to_tsvector('english', left(content, 500000))) STORED,
    created_at          timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (bot_id, id)
) PARTITION BY LIST (bot_id);

CREATE INDEX messages_order ON messages (bot_id, ts, seq);
CREATE INDEX messages_of_user ON messages (bot_id, user_id, ts, seq);
CREATE INDEX messages_words ON messages USING gin (content_tsv);
CREATE INDEX messages_to_extract ON messages (bot_id, ts)
    WHERE extraction_state = 'pending' AND role IN ('user', 'assistant');
