-- What background work on memories did, and how far it got. Plain tables, not partitions: they are small, and a purge
-- deletes their rows by bot_id.

-- One row per window of messages, or summary, that was read for facts: what came in, what the model made of it, what was done.
CREATE TABLE extraction_log (
    id          uuid        PRIMARY KEY,
    bot_id      text        NOT NULL,
    at          timestamptz NOT NULL,
    source      text        NOT NULL CHECK (source IN ('messages', 'summary', 'tool')),
    message_ids uuid[]      NOT NULL DEFAULT '{}',
    summary_id  uuid,
    user_id     text,
    model       text,
    method      text        NOT NULL CHECK (method IN ('llm', 'heuristic', 'none')),
    outcome     text        NOT NULL CHECK (outcome IN ('done', 'empty', 'retry', 'failed')),
    found       integer     NOT NULL DEFAULT 0,
    stored      integer     NOT NULL DEFAULT 0,
    dropped     integer     NOT NULL DEFAULT 0,
    facts       jsonb       NOT NULL DEFAULT '[]',
    actions     jsonb       NOT NULL DEFAULT '[]',
    error       text,
    took_ms     integer     NOT NULL DEFAULT 0
);

CREATE INDEX extraction_log_of_bot ON extraction_log (bot_id, at DESC);
CREATE INDEX extraction_log_age ON extraction_log (at);

-- How far a kind of upkeep has got with a bot: the start of its last complete run.
CREATE TABLE upkeep_marks (
    bot_id text        NOT NULL,
    kind   text        NOT NULL CHECK (kind IN ('consolidation')),
    at     timestamptz NOT NULL,
    PRIMARY KEY (bot_id, kind)
);

-- Themes that keep coming up, and when they last lifted the importance of their memories.
CREATE TABLE recurrence_themes (
    bot_id    text        NOT NULL,
    theme     text        NOT NULL,
    bumped_at timestamptz NOT NULL,
    PRIMARY KEY (bot_id, theme)
);

-- Memories that a profile attribute was made from.
CREATE INDEX memories_of_profile ON memories (bot_id, (metadata -> 'profile' ->> 'key')) WHERE metadata ? 'profile';
