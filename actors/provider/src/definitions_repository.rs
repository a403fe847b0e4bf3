//! The tables `model_definitions` and `deleted_model_seeds`. Stores what it is given; ids and times come from callers.

use std::collections::HashSet;

use deadpool_postgres::GenericClient;
use greenroom_dialect::ToolFormat;
use greenroom_store::StoreError;
use jiff::Timestamp;
use secrecy::ExposeSecret;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use crate::definition::{ModelDefinition, ModelOptions, ModelType, Price, TokenParam};

/// A row that no longer makes a definition; the alias and what is wrong.
pub(crate) type Unreadable = (String, &'static str);

/// A stored definition, or why the row is none.
type Stored = Result<ModelDefinition, Unreadable>;

/// All stored definitions by alias.
pub(crate) async fn list(db: &impl GenericClient) -> Result<Vec<Stored>, StoreError> {
    const SQL: &str = "SELECT alias, type, model_id, repo_id, filename, description, base_url, api_key, api_key_env, \
                       backend, bot_config, context_window, max_tokens, temperature, adapter, chat_format, n_gpu_layers, \
                       native_context_limit, tool_support, quantization, dtype, max_model_len, gpu_memory_utilization, \
                       enforce_eager, enable_prefix_caching, supports_images, supports_temperature, supports_top_p, \
                       token_param, stop_limit, request_timeout_s, first_token_timeout_s, price_input, price_output, \
                       tokenizer, fallbacks, created_at, updated_at \
                       FROM model_definitions ORDER BY lower(alias)";
    let rows = db.query(&db.prepare_cached(SQL).await?, &[]).await?;
    Ok(rows.iter().map(read).collect::<Result<_, _>>()?)
}

/// One definition, its alias in any case.
pub(crate) async fn get(db: &impl GenericClient, alias: &str) -> Result<Option<Stored>, StoreError> {
    const SQL: &str = "SELECT alias, type, model_id, repo_id, filename, description, base_url, api_key, api_key_env, \
                       backend, bot_config, context_window, max_tokens, temperature, adapter, chat_format, n_gpu_layers, \
                       native_context_limit, tool_support, quantization, dtype, max_model_len, gpu_memory_utilization, \
                       enforce_eager, enable_prefix_caching, supports_images, supports_temperature, supports_top_p, \
                       token_param, stop_limit, request_timeout_s, first_token_timeout_s, price_input, price_output, \
                       tokenizer, fallbacks, created_at, updated_at \
                       FROM model_definitions WHERE lower(alias) = lower($1)";
    let row = db.query_opt(&db.prepare_cached(SQL).await?, &[&alias]).await?;
    Ok(row.as_ref().map(read).transpose()?)
}

/// Writes a definition over whatever its alias stood for; only the first time of definition stays.
pub(crate) async fn upsert(db: &impl GenericClient, definition: &ModelDefinition) -> Result<(), StoreError> {
    const SQL: &str = "INSERT INTO model_definitions (alias, type, model_id, repo_id, filename, description, base_url, \
                       api_key, api_key_env, backend, bot_config, context_window, max_tokens, temperature, adapter, \
                       chat_format, n_gpu_layers, native_context_limit, tool_support, quantization, dtype, max_model_len, \
                       gpu_memory_utilization, enforce_eager, enable_prefix_caching, supports_images, \
                       supports_temperature, supports_top_p, token_param, stop_limit, request_timeout_s, \
                       first_token_timeout_s, price_input, price_output, tokenizer, fallbacks, created_at, updated_at) \
                       VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, \
                       $21, $22, $23, $24, $25, $26, $27, $28, $29, $30, $31, $32, $33, $34, $35, $36, $37, $38) \
                       ON CONFLICT (lower(alias)) DO UPDATE SET type = EXCLUDED.type, model_id = EXCLUDED.model_id, \
                       repo_id = EXCLUDED.repo_id, filename = EXCLUDED.filename, description = EXCLUDED.description, \
                       base_url = EXCLUDED.base_url, api_key = EXCLUDED.api_key, api_key_env = EXCLUDED.api_key_env, \
                       backend = EXCLUDED.backend, bot_config = EXCLUDED.bot_config, \
                       context_window = EXCLUDED.context_window, max_tokens = EXCLUDED.max_tokens, \
                       temperature = EXCLUDED.temperature, adapter = EXCLUDED.adapter, \
                       chat_format = EXCLUDED.chat_format, n_gpu_layers = EXCLUDED.n_gpu_layers, \
                       native_context_limit = EXCLUDED.native_context_limit, tool_support = EXCLUDED.tool_support, \
                       quantization = EXCLUDED.quantization, dtype = EXCLUDED.dtype, \
                       max_model_len = EXCLUDED.max_model_len, \
                       gpu_memory_utilization = EXCLUDED.gpu_memory_utilization, \
                       enforce_eager = EXCLUDED.enforce_eager, \
                       enable_prefix_caching = EXCLUDED.enable_prefix_caching, \
                       supports_images = EXCLUDED.supports_images, \
                       supports_temperature = EXCLUDED.supports_temperature, \
                       supports_top_p = EXCLUDED.supports_top_p, token_param = EXCLUDED.token_param, \
                       stop_limit = EXCLUDED.stop_limit, request_timeout_s = EXCLUDED.request_timeout_s, \
                       first_token_timeout_s = EXCLUDED.first_token_timeout_s, price_input = EXCLUDED.price_input, \
                       price_output = EXCLUDED.price_output, tokenizer = EXCLUDED.tokenizer, \
                       fallbacks = EXCLUDED.fallbacks, \
                       updated_at = EXCLUDED.updated_at";
    db.execute(&db.prepare_cached(SQL).await?, &Columns::of(definition).values()).await?;
    Ok(())
}

/// Stores a definition unless its alias is taken; true when it was stored.
pub(crate) async fn insert_missing(db: &impl GenericClient, definition: &ModelDefinition) -> Result<bool, StoreError> {
    const SQL: &str = "INSERT INTO model_definitions (alias, type, model_id, repo_id, filename, description, base_url, \
                       api_key, api_key_env, backend, bot_config, context_window, max_tokens, temperature, adapter, \
                       chat_format, n_gpu_layers, native_context_limit, tool_support, quantization, dtype, max_model_len, \
                       gpu_memory_utilization, enforce_eager, enable_prefix_caching, supports_images, \
                       supports_temperature, supports_top_p, token_param, stop_limit, request_timeout_s, \
                       first_token_timeout_s, price_input, price_output, tokenizer, fallbacks, created_at, updated_at) \
                       VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, \
                       $21, $22, $23, $24, $25, $26, $27, $28, $29, $30, $31, $32, $33, $34, $35, $36, $37, $38) \
                       ON CONFLICT DO NOTHING";
    let stored = db.execute(&db.prepare_cached(SQL).await?, &Columns::of(definition).values()).await?;
    Ok(stored > 0)
}

/// Deletes a definition, its alias in any case; gives the alias as it was spelled.
pub(crate) async fn delete(db: &impl GenericClient, alias: &str) -> Result<Option<String>, StoreError> {
    const SQL: &str = "DELETE FROM model_definitions WHERE lower(alias) = lower($1) RETURNING alias";
    let row = db.query_opt(&db.prepare_cached(SQL).await?, &[&alias]).await?;
    Ok(row.map(|row| row.try_get("alias")).transpose()?)
}

/// Whether there is no definition at all.
pub(crate) async fn is_empty(db: &impl GenericClient) -> Result<bool, StoreError> {
    const SQL: &str = "SELECT NOT EXISTS (SELECT 1 FROM model_definitions) AS empty";
    let row = db.query_one(&db.prepare_cached(SQL).await?, &[]).await?;
    Ok(row.try_get("empty")?)
}

/// Folded aliases of seeds that were deleted on purpose.
pub(crate) async fn deleted_seeds(db: &impl GenericClient) -> Result<HashSet<String>, StoreError> {
    const SQL: &str = "SELECT folded_alias FROM deleted_model_seeds";
    let rows = db.query(&db.prepare_cached(SQL).await?, &[]).await?;
    Ok(rows.iter().map(|row| row.try_get("folded_alias")).collect::<Result<_, _>>()?)
}

/// Remembers that a seed was deleted.
pub(crate) async fn remember_deleted(db: &impl GenericClient, folded: &str, now: Timestamp) -> Result<(), StoreError> {
    const SQL: &str = "INSERT INTO deleted_model_seeds (folded_alias, deleted_at) VALUES ($1, $2) \
                       ON CONFLICT (folded_alias) DO NOTHING";
    db.execute(&db.prepare_cached(SQL).await?, &[&folded, &now]).await?;
    Ok(())
}

/// Forgets that seeds were deleted.
pub(crate) async fn forget_deleted(db: &impl GenericClient, folded: &[String]) -> Result<(), StoreError> {
    const SQL: &str = "DELETE FROM deleted_model_seeds WHERE folded_alias = ANY($1)";
    db.execute(&db.prepare_cached(SQL).await?, &[&folded]).await?;
    Ok(())
}

/// A definition in the types of the columns.
struct Columns<'a> {
    definition: &'a ModelDefinition,
    kind: &'static str,
    model_id: Option<&'a str>,
    api_key: Option<&'a str>,
    context_window: Option<i64>,
    max_tokens: Option<i64>,
    native_context_limit: Option<i64>,
    tool_support: Option<&'static str>,
    max_model_len: Option<i64>,
    token_param: Option<&'static str>,
    stop_limit: Option<i32>,
    price_input: Option<f64>,
    price_output: Option<f64>,
}

impl<'a> Columns<'a> {
    fn of(definition: &'a ModelDefinition) -> Self {
        let options = &definition.options;
        let tokens = |count: Option<u64>| count.map(|count| i64::try_from(count).unwrap_or(i64::MAX));
        Self {
            definition,
            kind: definition.kind.as_str(),
            model_id: definition.model_id.as_deref(),
            api_key: options.api_key.as_ref().map(|key| key.expose_secret()),
            context_window: tokens(options.context_window),
            max_tokens: options.max_tokens.map(i64::from),
            native_context_limit: tokens(options.native_context_limit),
            tool_support: options.tool_support.map(ToolFormat::as_str),
            max_model_len: tokens(options.max_model_len),
            token_param: options.token_param.map(TokenParam::as_str),
            stop_limit: options.stop_limit.map(|limit| i32::try_from(limit).unwrap_or(i32::MAX)),
            price_input: options.price.map(|price| price.input),
            price_output: options.price.map(|price| price.output),
        }
    }

    /// The values in the order of the INSERT statements.
    fn values(&self) -> [&(dyn ToSql + Sync); 38] {
        let (definition, options) = (self.definition, &self.definition.options);
        [
            &definition.alias,
            &self.kind,
            &self.model_id,
            &definition.repo_id,
            &definition.filename,
            &definition.description,
            &options.base_url,
            &self.api_key,
            &options.api_key_env,
            &options.backend,
            &options.bot_config,
            &self.context_window,
            &self.max_tokens,
            &options.temperature,
            &options.adapter,
            &options.chat_format,
            &options.n_gpu_layers,
            &self.native_context_limit,
            &self.tool_support,
            &options.quantization,
            &options.dtype,
            &self.max_model_len,
            &options.gpu_memory_utilization,
            &options.enforce_eager,
            &options.enable_prefix_caching,
            &options.supports_images,
            &options.supports_temperature,
            &options.supports_top_p,
            &self.token_param,
            &self.stop_limit,
            &options.request_timeout_s,
            &options.first_token_timeout_s,
            &self.price_input,
            &self.price_output,
            &options.tokenizer,
            &options.fallbacks,
            &definition.created_at,
            &definition.updated_at,
        ]
    }
}

fn read(row: &Row) -> Result<Stored, tokio_postgres::Error> {
    let alias: String = row.try_get("alias")?;
    let Some(kind) = ModelType::parse(row.try_get("type")?) else { return Ok(Err((alias, "unknown type"))) };
    let tokens = |column: &str| Ok(row.try_get::<_, Option<i64>>(column)?.and_then(|count| u64::try_from(count).ok()));
    let input: Option<f64> = row.try_get("price_input")?;
    let output: Option<f64> = row.try_get("price_output")?;
    let options = ModelOptions {
        base_url: row.try_get("base_url")?,
        api_key: row.try_get::<_, Option<String>>("api_key")?.map(Into::into),
        api_key_env: row.try_get("api_key_env")?,
        backend: row.try_get("backend")?,
        bot_config: row.try_get("bot_config")?,
        context_window: tokens("context_window")?,
        max_tokens: tokens("max_tokens")?.and_then(|count| u32::try_from(count).ok()),
        temperature: row.try_get("temperature")?,
        adapter: row.try_get("adapter")?,
        chat_format: row.try_get("chat_format")?,
        n_gpu_layers: row.try_get("n_gpu_layers")?,
        native_context_limit: tokens("native_context_limit")?,
        tool_support: row.try_get::<_, Option<&str>>("tool_support")?.and_then(ToolFormat::parse),
        quantization: row.try_get("quantization")?,
        dtype: row.try_get("dtype")?,
        max_model_len: tokens("max_model_len")?,
        gpu_memory_utilization: row.try_get("gpu_memory_utilization")?,
        enforce_eager: row.try_get("enforce_eager")?,
        enable_prefix_caching: row.try_get("enable_prefix_caching")?,
        supports_images: row.try_get("supports_images")?,
        supports_temperature: row.try_get("supports_temperature")?,
        supports_top_p: row.try_get("supports_top_p")?,
        token_param: row.try_get::<_, Option<&str>>("token_param")?.and_then(TokenParam::parse),
        stop_limit: row.try_get::<_, Option<i32>>("stop_limit")?.and_then(|limit| u32::try_from(limit).ok()),
        request_timeout_s: row.try_get("request_timeout_s")?,
        first_token_timeout_s: row.try_get("first_token_timeout_s")?,
        price: input.zip(output).map(|(input, output)| Price { input, output }),
        tokenizer: row.try_get("tokenizer")?,
        fallbacks: row.try_get("fallbacks")?,
    };
    Ok(Ok(ModelDefinition {
        alias,
        kind,
        model_id: row.try_get::<_, Option<String>>("model_id")?.map(Into::into),
        repo_id: row.try_get("repo_id")?,
        filename: row.try_get("filename")?,
        description: row.try_get("description")?,
        options,
        created_at: row.try_get("created_at")?,
        updated_at: row.try_get("updated_at")?,
    }))
}
