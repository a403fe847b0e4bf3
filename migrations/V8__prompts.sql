-- Edits of prompts and their history. Built-in texts live in the program; a row here is an edit of one, for all bots or
-- for one, or a prompt of the operator's own. Written only by the prompts room.

-- Columns left NULL fall back to the built-in prompt of the key.
CREATE TABLE prompt_templates (
    key           text        NOT NULL CHECK (key ~ '^[a-z0-9._-]{1,255}$'),
    scope_type    text        NOT NULL CHECK (scope_type IN ('global', 'bot')),
    scope_id      text        NOT NULL CHECK (char_length(scope_id) BETWEEN 1 AND 64),
    title         text        CHECK (char_length(title) <= 255),
    category      text        CHECK (char_length(category) <= 64),
    format        text        CHECK (char_length(format) <= 32),
    body          text        CHECK (body ~ '\S'),
    required_vars text[]      NOT NULL DEFAULT '{}',
    metadata      jsonb       NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(metadata) = 'object'),
    updated_by    text        CHECK (char_length(updated_by) <= 128),
    created_at    timestamptz NOT NULL,
    updated_at    timestamptz NOT NULL,
    PRIMARY KEY (key, scope_type, scope_id),
    CHECK ((scope_type = 'global') = (scope_id = '*'))
);

CREATE INDEX prompt_templates_of_scope ON prompt_templates (scope_type, scope_id, key);

-- Append-only. Numbers are given out under a lock and never twice.
CREATE TABLE prompt_template_versions (
    key         text        NOT NULL,
    scope_type  text        NOT NULL CHECK (scope_type IN ('global', 'bot')),
    scope_id    text        NOT NULL,
    version     integer     NOT NULL CHECK (version > 0),
    body        text        NOT NULL,
    change_note text        CHECK (char_length(change_note) <= 500),
    created_by  text        CHECK (char_length(created_by) <= 128),
    created_at  timestamptz NOT NULL,
    PRIMARY KEY (key, scope_type, scope_id, version)
);
