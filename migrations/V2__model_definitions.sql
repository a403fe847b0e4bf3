-- Model definitions. A row wins over the seed file's entry of the same alias; secrets are stored as given and masked in
-- every view. Aliases keep their spelling and are unique without regard to case.

CREATE TABLE model_definitions (
    id                      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    alias                   text        NOT NULL UNIQUE CHECK (char_length(alias) BETWEEN 1 AND 128),
    type                    text        NOT NULL CHECK (char_length(type) BETWEEN 1 AND 64),
    model_id                text        CHECK (char_length(model_id) <= 512),
    repo_id                 text        CHECK (char_length(repo_id) <= 512),
    filename                text        CHECK (char_length(filename) <= 512),
    description             text,
    base_url                text,
    api_key                 text,
    api_key_env             text,
    backend                 text,
    bot_config              jsonb       CHECK (jsonb_typeof(bot_config) = 'object'),
    context_window          bigint,
    max_tokens              bigint,
    temperature             double precision,
    adapter                 text,
    chat_format             text,
    n_gpu_layers            integer,
    native_context_limit    bigint,
    tool_support            text,
    quantization            text,
    dtype                   text,
    max_model_len           bigint,
    gpu_memory_utilization  double precision,
    enforce_eager           boolean,
    enable_prefix_caching   boolean,
    supports_images         boolean,
    supports_temperature    boolean,
    supports_top_p          boolean,
    token_param             text,
    stop_limit              integer,
    request_timeout_s       double precision,
    first_token_timeout_s   double precision,
    price_input             double precision,
    price_output            double precision,
    tokenizer               text,
    created_at              timestamptz NOT NULL,
    updated_at              timestamptz NOT NULL,
    CHECK ((price_input IS NULL) = (price_output IS NULL))
);

CREATE UNIQUE INDEX model_definitions_folded_alias ON model_definitions (lower(alias));

-- Seeds that were deleted on purpose, so that the seed file does not bring them back at the next reload.
CREATE TABLE deleted_model_seeds (
    folded_alias text PRIMARY KEY,
    deleted_at   timestamptz NOT NULL
);
