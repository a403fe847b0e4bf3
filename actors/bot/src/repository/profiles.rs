//! SQL over `bot_profiles` and `bot_tombstones`.

use deadpool_postgres::GenericClient;
use greenroom_protocol::BotSlug;
use jiff::Timestamp;
use serde_json::{Map, Value};
use tokio_postgres::Row;
use tokio_postgres::types::{Json, ToSql};

use crate::error::BotsError;
use crate::profile::{BotProfile, BotType, Character, scope_of, scope_word};

/// The stored bots.
pub(crate) struct ProfileRepository;

impl ProfileRepository {
    /// Makes writers of this room wait for each other until the transaction's end, across processes.
    pub(crate) async fn lock_on(db: &impl GenericClient) -> Result<(), BotsError> {
        const SQL: &str = "SELECT pg_advisory_xact_lock(hashtextextended('greenroom bots', 0))";
        db.execute(&db.prepare_cached(SQL).await?, &[]).await?;
        Ok(())
    }

    /// All bots, by slug.
    pub(crate) async fn all_on(db: &impl GenericClient) -> Result<Vec<BotProfile>, BotsError> {
        const SQL: &str = "
            SELECT slug, namespace, name, description, system_prompt, requires_memory, voice_optimized, tts_mode,
                   include_summaries, uses_tools, uses_search, uses_home_assistant, default_model, color, avatar,
                   default_voice, nextcloud_config, bot_type, agent_backend, agent_backend_config, tools_allow,
                   tools_deny, history_scope, timezone, model_fallbacks, created_at, updated_at
              FROM bot_profiles
             ORDER BY slug COLLATE \"C\"";
        db.query(&db.prepare_cached(SQL).await?, &[]).await?.iter().map(profile).collect()
    }

    /// One bot, locked until the transaction's end.
    pub(crate) async fn locked_on(db: &impl GenericClient, slug: &BotSlug) -> Result<Option<BotProfile>, BotsError> {
        const SQL: &str = "
            SELECT slug, namespace, name, description, system_prompt, requires_memory, voice_optimized, tts_mode,
                   include_summaries, uses_tools, uses_search, uses_home_assistant, default_model, color, avatar,
                   default_voice, nextcloud_config, bot_type, agent_backend, agent_backend_config, tools_allow,
                   tools_deny, history_scope, timezone, model_fallbacks, created_at, updated_at
              FROM bot_profiles
             WHERE slug = $1
               FOR UPDATE";
        let row = db.query_opt(&db.prepare_cached(SQL).await?, &[&slug.as_str()]).await?;
        row.as_ref().map(profile).transpose()
    }

    /// Stores a new bot; false when the slug exists.
    pub(crate) async fn insert_on(db: &impl GenericClient, profile: &BotProfile) -> Result<bool, BotsError> {
        const SQL: &str = "
            INSERT INTO bot_profiles
                   (slug, namespace, name, description, system_prompt, requires_memory, voice_optimized, tts_mode,
                    include_summaries, uses_tools, uses_search, uses_home_assistant, default_model, color, avatar,
                    default_voice, nextcloud_config, bot_type, agent_backend, agent_backend_config, tools_allow,
                    tools_deny, history_scope, timezone, model_fallbacks, updated_at, created_at)
            VALUES ($1, $27, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20,
                    $21, $22, $23, $24, $25, $26)
                ON CONFLICT (slug) DO NOTHING";
        let row = Values::of(profile);
        let mut parameters = row.parameters();
        parameters.extend([&profile.created_at as &(dyn ToSql + Sync), &profile.namespace]);
        Ok(db.execute(&db.prepare_cached(SQL).await?, &parameters).await? == 1)
    }

    /// Replaces everything that may be edited.
    pub(crate) async fn update_on(db: &impl GenericClient, profile: &BotProfile) -> Result<(), BotsError> {
        const SQL: &str = "
            UPDATE bot_profiles
               SET name = $2, description = $3, system_prompt = $4, requires_memory = $5, voice_optimized = $6,
                   tts_mode = $7, include_summaries = $8, uses_tools = $9, uses_search = $10,
                   uses_home_assistant = $11, default_model = $12, color = $13, avatar = $14, default_voice = $15,
                   nextcloud_config = $16, bot_type = $17, agent_backend = $18, agent_backend_config = $19,
                   tools_allow = $20, tools_deny = $21, history_scope = $22, timezone = $23,
                   model_fallbacks = $24, updated_at = $25
             WHERE slug = $1";
        db.execute(&db.prepare_cached(SQL).await?, &Values::of(profile).parameters()).await?;
        Ok(())
    }

    /// Takes a model alias out of every profile that has it as default.
    pub(crate) async fn clear_default_model_on(
        db: &impl GenericClient,
        alias: &str,
        now: Timestamp,
    ) -> Result<u64, BotsError> {
        const SQL: &str = "
            UPDATE bot_profiles SET default_model = NULL, updated_at = $2 WHERE lower(default_model) = lower($1)";
        Ok(db.execute(&db.prepare_cached(SQL).await?, &[&alias, &now]).await?)
    }

    /// Deletes a bot and leaves a tombstone; false when there is no such bot.
    pub(crate) async fn bury_on(db: &impl GenericClient, slug: &BotSlug, now: Timestamp) -> Result<bool, BotsError> {
        const SQL: &str = "
            WITH gone AS (DELETE FROM bot_profiles WHERE slug = $1 RETURNING slug, namespace)
            INSERT INTO bot_tombstones (slug, namespace, deleted_at)
            SELECT slug, namespace, $2 FROM gone
                ON CONFLICT (slug) DO UPDATE SET namespace = excluded.namespace, deleted_at = excluded.deleted_at";
        Ok(db.execute(&db.prepare_cached(SQL).await?, &[&slug.as_str(), &now]).await? > 0)
    }

    /// Takes a tombstone away, because the bot is made again.
    pub(crate) async fn unbury_on(db: &impl GenericClient, slug: &BotSlug) -> Result<(), BotsError> {
        const SQL: &str = "DELETE FROM bot_tombstones WHERE slug = $1";
        db.execute(&db.prepare_cached(SQL).await?, &[&slug.as_str()]).await?;
        Ok(())
    }

    /// Slugs and namespaces of deleted bots.
    pub(crate) async fn tombstones_on(db: &impl GenericClient) -> Result<Vec<(BotSlug, String)>, BotsError> {
        const SQL: &str = "SELECT slug, namespace FROM bot_tombstones";
        let rows = db.query(&db.prepare_cached(SQL).await?, &[]).await?;
        rows.iter().map(|row| Ok((BotSlug::from_stored(row.try_get::<_, String>(0)?), row.try_get(1)?))).collect()
    }
}

/// A profile's editable columns as parameters $1 to $25.
struct Values<'a> {
    slug: &'a str,
    character: &'a Character,
    bot_type: &'static str,
    history_scope: &'static str,
    nextcloud: Option<Json<&'a Map<String, Value>>>,
    backend: Option<Json<&'a Map<String, Value>>>,
    updated_at: &'a Timestamp,
}

impl<'a> Values<'a> {
    fn of(profile: &'a BotProfile) -> Self {
        let character = &profile.character;
        Self {
            slug: profile.slug.as_str(),
            character,
            bot_type: character.bot_type.as_str(),
            history_scope: scope_word(character.history_scope),
            nextcloud: character.nextcloud_config.as_ref().map(Json),
            backend: character.agent_backend_config.as_ref().map(Json),
            updated_at: &profile.updated_at,
        }
    }

    fn parameters(&self) -> Vec<&(dyn ToSql + Sync)> {
        let it = self.character;
        vec![
            &self.slug,
            &it.name,
            &it.description,
            &it.system_prompt,
            &it.requires_memory,
            &it.voice_optimized,
            &it.tts_mode,
            &it.include_summaries,
            &it.uses_tools,
            &it.uses_search,
            &it.uses_home_assistant,
            &it.default_model,
            &it.color,
            &it.avatar,
            &it.default_voice,
            &self.nextcloud,
            &self.bot_type,
            &it.agent_backend,
            &self.backend,
            &it.tools_allow,
            &it.tools_deny,
            &self.history_scope,
            &it.timezone,
            &it.model_fallbacks,
            self.updated_at,
        ]
    }
}

fn profile(row: &Row) -> Result<BotProfile, BotsError> {
    let object = |column: &str| -> Result<Option<Map<String, Value>>, BotsError> {
        Ok(row.try_get::<_, Option<Json<Map<String, Value>>>>(column)?.map(|json| json.0))
    };
    let character = Character {
        name: row.try_get("name")?,
        description: row.try_get("description")?,
        system_prompt: row.try_get("system_prompt")?,
        requires_memory: row.try_get("requires_memory")?,
        voice_optimized: row.try_get("voice_optimized")?,
        tts_mode: row.try_get("tts_mode")?,
        include_summaries: row.try_get("include_summaries")?,
        uses_tools: row.try_get("uses_tools")?,
        uses_search: row.try_get("uses_search")?,
        uses_home_assistant: row.try_get("uses_home_assistant")?,
        default_model: row.try_get("default_model")?,
        color: row.try_get("color")?,
        avatar: row.try_get("avatar")?,
        default_voice: row.try_get("default_voice")?,
        nextcloud_config: object("nextcloud_config")?,
        bot_type: BotType::parse(row.try_get("bot_type")?).ok_or(BotsError::Unreadable("bot_type"))?,
        agent_backend: row.try_get("agent_backend")?,
        agent_backend_config: object("agent_backend_config")?,
        tools_allow: row.try_get("tools_allow")?,
        tools_deny: row.try_get("tools_deny")?,
        model_fallbacks: row.try_get("model_fallbacks")?,
        history_scope: scope_of(row.try_get("history_scope")?).ok_or(BotsError::Unreadable("history_scope"))?,
        timezone: row.try_get("timezone")?,
    };
    Ok(BotProfile {
        slug: BotSlug::from_stored(row.try_get::<_, String>("slug")?),
        namespace: row.try_get("namespace")?,
        character,
        created_at: row.try_get("created_at")?,
        updated_at: row.try_get("updated_at")?,
    })
}
