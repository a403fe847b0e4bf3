-- Jobs, their runs, and the queue of background tasks. Written only by the scheduler room. All times come from the
-- scheduler's clock.

CREATE TABLE scheduled_jobs (
    id                   uuid        PRIMARY KEY,
    job_type             text        NOT NULL CHECK (job_type IN (
                             'profile_maintenance', 'history_summarization', 'memory_extraction', 'memory_consolidation',
                             'memory_decay', 'memory_recurrence', 'memory_orphans', 'tombstone_expiry')),
    bot_id               text        NOT NULL CHECK (char_length(bot_id) BETWEEN 1 AND 64),
    enabled              boolean     NOT NULL DEFAULT true,
    interval_minutes     integer     NOT NULL CHECK (interval_minutes BETWEEN 1 AND 525600),
    config               jsonb       NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(config) = 'object'),
    max_runtime_s        integer     NOT NULL DEFAULT 900 CHECK (max_runtime_s BETWEEN 1 AND 86400),
    last_run_at          timestamptz,
    next_run_at          timestamptz,
    consecutive_failures integer     NOT NULL DEFAULT 0,
    -- Why the scheduler itself switched the job off.
    disabled_reason      text,
    created_at           timestamptz NOT NULL,
    updated_at           timestamptz NOT NULL,
    UNIQUE (job_type, bot_id)
);

CREATE INDEX scheduled_jobs_due ON scheduled_jobs (next_run_at) WHERE enabled;

-- A job on `*` has a parent run with `fan_out` and a child run for each bot. Parents belong to no process: they end when
-- their last child has. `attempt` counts the tries of one instant after interruptions.
CREATE TABLE scheduled_job_runs (
    id               uuid        PRIMARY KEY,
    job_id           uuid        NOT NULL REFERENCES scheduled_jobs ON DELETE CASCADE,
    bot_id           text        NOT NULL,
    parent_run_id    uuid        REFERENCES scheduled_job_runs ON DELETE CASCADE,
    fan_out          boolean     NOT NULL DEFAULT false,
    trigger          text        NOT NULL CHECK (trigger IN ('schedule', 'manual', 'startup', 'backlog', 'turn')),
    forced           boolean     NOT NULL DEFAULT false,
    status           text        NOT NULL CHECK (status IN ('pending', 'running', 'success', 'failed', 'skipped')),
    scheduled_for    timestamptz NOT NULL,
    attempt          smallint    NOT NULL DEFAULT 1,
    interrupted      boolean     NOT NULL DEFAULT false,
    owner            uuid,
    lease_until      timestamptz,
    created_at       timestamptz NOT NULL,
    started_at       timestamptz,
    finished_at      timestamptz,
    duration_ms      bigint,
    result           jsonb,
    error_message    text
);

-- Nothing fires twice for one instant, and nothing runs twice at once.
CREATE UNIQUE INDEX scheduled_job_runs_instant ON scheduled_job_runs (job_id, bot_id, scheduled_for, attempt)
    WHERE trigger = 'schedule';
CREATE UNIQUE INDEX scheduled_job_runs_active ON scheduled_job_runs (job_id, bot_id)
    WHERE status IN ('pending', 'running');
CREATE INDEX scheduled_job_runs_of_job ON scheduled_job_runs (job_id, started_at DESC);
CREATE INDEX scheduled_job_runs_of_bot ON scheduled_job_runs (job_id, bot_id, finished_at DESC);
CREATE INDEX scheduled_job_runs_children ON scheduled_job_runs (parent_run_id) WHERE parent_run_id IS NOT NULL;
CREATE INDEX scheduled_job_runs_pending ON scheduled_job_runs (created_at) WHERE status = 'pending';
CREATE INDEX scheduled_job_runs_running ON scheduled_job_runs (status) WHERE status = 'running';
CREATE INDEX scheduled_job_runs_newest ON scheduled_job_runs (created_at DESC, id DESC);

CREATE TABLE background_tasks (
    id                 uuid        PRIMARY KEY,
    task_type          text        NOT NULL CHECK (task_type IN (
                           'context_compaction', 'embedding_generation', 'memory_consolidation', 'meaning_update',
                           'memory_maintenance', 'profile_maintenance', 'history_summarization', 'memory_extraction')),
    payload            jsonb       NOT NULL CHECK (jsonb_typeof(payload) = 'object'),
    bot_id             text        NOT NULL,
    user_id            text        NOT NULL,
    priority           integer     NOT NULL DEFAULT 0,
    status             text        NOT NULL CHECK (status IN ('pending', 'running', 'completed', 'failed')),
    attempts           smallint    NOT NULL DEFAULT 0,
    not_before         timestamptz NOT NULL,
    owner              uuid,
    lease_until        timestamptz,
    created_at         timestamptz NOT NULL,
    started_at         timestamptz,
    completed_at       timestamptz,
    processing_time_ms bigint,
    result             jsonb,
    error              text
);

CREATE INDEX background_tasks_pending ON background_tasks (priority DESC, created_at, id) WHERE status = 'pending';
CREATE INDEX background_tasks_running ON background_tasks (status) WHERE status = 'running';
CREATE INDEX background_tasks_completed ON background_tasks (completed_at) WHERE completed_at IS NOT NULL;
CREATE INDEX background_tasks_newest ON background_tasks (created_at DESC, id DESC);
