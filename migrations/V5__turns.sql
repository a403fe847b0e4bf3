-- Turn logs, the journal of turn events, and tool-call records. Written only by the journal actor.

CREATE TABLE turn_logs (
    id                 text PRIMARY KEY,
    created_at         timestamptz NOT NULL,
    request_id         text        NOT NULL,
    path               text        NOT NULL,
    stream             boolean     NOT NULL,
    model              text        NOT NULL,
    bot_id             text        NOT NULL,
    user_id            text        NOT NULL,
    status             text        NOT NULL,
    status_rank        smallint    NOT NULL DEFAULT 0,
    latency_ms         double precision,
    first_token_ms     double precision,
    user_prompt        text        NOT NULL,
    request_json       text,
    response_text      text,
    tool_calls_json    text,
    error_text         text,
    trigger_message_id text,
    agent_session_key  text,
    agent_request_id   text,
    animation          text,
    token_usage_json   text,
    stage_timings_json text,
    completion_id      text        NOT NULL,
    updated_at         timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX turn_logs_newest ON turn_logs (created_at DESC, id DESC);
CREATE INDEX turn_logs_of_bot ON turn_logs (bot_id, created_at DESC);
CREATE INDEX turn_logs_trigger ON turn_logs (trigger_message_id);
CREATE INDEX turn_logs_request ON turn_logs (request_id);
CREATE INDEX turn_logs_open ON turn_logs (created_at) WHERE status_rank = 0;

-- One row is one event, except that consecutive pieces of text share a row: `text` is their concatenation and `cuts`
-- holds the length of each piece in bytes, so that a replay is exact.
CREATE TABLE turn_events (
    turn_id text    NOT NULL,
    seq     bigint  NOT NULL,
    kind    text    NOT NULL,
    body    text    NOT NULL,
    cuts    integer[],
    PRIMARY KEY (turn_id, seq)
);

CREATE TABLE tool_call_records (
    turn_id        text   NOT NULL,
    call_id        text   NOT NULL,
    created_at     timestamptz NOT NULL DEFAULT now(),
    bot_id         text   NOT NULL,
    user_id        text   NOT NULL,
    tool_name      text   NOT NULL,
    arguments_json text   NOT NULL,
    result_text    text,
    iteration      integer NOT NULL DEFAULT 1,
    started_at     double precision NOT NULL,
    ended_at       double precision,
    duration_ms    double precision,
    PRIMARY KEY (turn_id, call_id)
);

CREATE INDEX tool_call_records_of_bot ON tool_call_records (bot_id, created_at DESC);
