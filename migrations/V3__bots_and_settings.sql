-- Bots, runtime settings, and the models that users switched to. Written only by the bot room.

-- Authoritative for every bot from the moment it exists; seeds are copied here once. `namespace` names the bot's own
-- tables: computed when the bot is created, never changed, never taken from user input.
CREATE TABLE bot_profiles (
    slug                 text        PRIMARY KEY CHECK (slug ~ '^[a-z0-9][a-z0-9_-]{0,63}$'),
    namespace            text        NOT NULL UNIQUE CHECK (namespace ~ '^[a-z0-9_]{1,48}$'),
    name                 text        NOT NULL CHECK (char_length(name) BETWEEN 1 AND 255),
    description          text        NOT NULL DEFAULT '',
    system_prompt        text        NOT NULL,
    requires_memory      boolean     NOT NULL DEFAULT true,
    voice_optimized      boolean     NOT NULL DEFAULT false,
    tts_mode             boolean     NOT NULL DEFAULT false,
    include_summaries    boolean     NOT NULL DEFAULT true,
    uses_tools           boolean     NOT NULL DEFAULT false,
    uses_search          boolean     NOT NULL DEFAULT false,
    uses_home_assistant  boolean     NOT NULL DEFAULT false,
    default_model        text        CHECK (char_length(default_model) <= 128),
    color                text        CHECK (char_length(color) <= 64),
    avatar               text        CHECK (char_length(avatar) <= 512),
    default_voice        text        CHECK (char_length(default_voice) <= 128),
    nextcloud_config     jsonb       CHECK (jsonb_typeof(nextcloud_config) = 'object'),
    bot_type             text        NOT NULL DEFAULT 'chat' CHECK (bot_type IN ('chat', 'agent')),
    agent_backend        text        CHECK (char_length(agent_backend) BETWEEN 1 AND 64),
    agent_backend_config jsonb       CHECK (jsonb_typeof(agent_backend_config) = 'object'),
    tools_allow          text[],
    tools_deny           text[]      NOT NULL DEFAULT '{}',
    history_scope        text        NOT NULL DEFAULT 'bot' CHECK (history_scope IN ('bot', 'user')),
    timezone             text,
    created_at           timestamptz NOT NULL,
    updated_at           timestamptz NOT NULL,
    CHECK (bot_type = 'chat' OR agent_backend IS NOT NULL)
);

-- Deleted bots: a deleted seed is not copied again, and a name whose tables may still exist is not given to another bot.
CREATE TABLE bot_tombstones (
    slug       text        PRIMARY KEY,
    namespace  text        NOT NULL UNIQUE,
    deleted_at timestamptz NOT NULL
);

CREATE TABLE runtime_settings (
    scope_type text        NOT NULL CHECK (scope_type IN ('global', 'bot')),
    scope_id   text        NOT NULL CHECK (char_length(scope_id) BETWEEN 1 AND 128),
    key        text        NOT NULL CHECK (char_length(key) BETWEEN 1 AND 128),
    value_json jsonb       NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (scope_type, scope_id, key),
    CHECK ((scope_type = 'global') = (scope_id = '*'))
);

CREATE TABLE model_overrides (
    bot_id      text        NOT NULL,
    user_id     text        NOT NULL,
    model_alias text        NOT NULL,
    expires_at  timestamptz NOT NULL,
    PRIMARY KEY (bot_id, user_id)
);
