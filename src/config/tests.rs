//! The layers in their order, what is refused, and that no secret is ever shown.

use secrecy::ExposeSecret;

use super::*;

fn around(variables: &[(&str, &str)]) -> Surroundings {
    Surroundings {
        environment: variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        working_dir: PathBuf::from("/nonexistent"),
        ..Surroundings::default()
    }
}

fn loaded(variables: &[(&str, &str)]) -> Loaded {
    load(&around(variables)).unwrap()
}

fn refusal(variables: &[(&str, &str)]) -> String {
    load(&around(variables)).unwrap_err().to_string()
}

fn source(loaded: &Loaded, key: &str) -> String {
    loaded.settings().into_iter().find(|setting| setting.key == key).unwrap().source
}

#[test]
fn the_file_of_defaults_says_what_the_code_says() {
    let from_file = serde_json::to_value(&loaded(&[]).config).unwrap();
    assert_eq!(from_file, serde_json::to_value(Config::default()).unwrap());
    // Every key is named in the file, if only in a comment.
    let text = include_str!("../../config/default.toml");
    for setting in loaded(&[]).settings() {
        let name = setting.key.rsplit('.').next().unwrap();
        assert!(text.contains(&format!("{name} = ")) || text.contains(&format!("[{name}]")), "{}", setting.key);
    }
}

#[test]
fn stronger_layers_win_and_are_named() {
    let dir = std::env::temp_dir().join(format!("greenroom-config-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join("mine.toml"), "[server]\nport = 1000\nhost = \"localhost\"\n[limits]\ndrain = \"1s\"\n")
        .unwrap();
    std::fs::write(dir.join(".env"), "GREENROOM_LIMITS__DRAIN=2s\nPORT=1001\nOPENAI_API_KEY=from-dotenv\n").unwrap();
    let mut around = around(&[("PORT", "1002"), ("LLM_BAWT_SERVICE_PORT", "1003"), ("GREENROOM_BOTS__STRICT", "true")]);
    around.working_dir.clone_from(&dir);
    around.file = Some("mine.toml".into());
    let without_flag = load(&around).unwrap();
    assert_eq!(without_flag.config.server.port, 1002);
    assert_eq!(source(&without_flag, "server.port"), "environment PORT");
    assert_eq!(source(&without_flag, "server.host"), format!("file {}/mine.toml", dir.display()));
    assert_eq!(without_flag.config.limits.drain, Span::secs(2));
    assert_eq!(source(&without_flag, "limits.drain"), format!("{}/.env GREENROOM_LIMITS__DRAIN", dir.display()));
    assert_eq!(source(&without_flag, "limits.body"), "built-in default");
    assert!(without_flag.config.bots.strict);
    around.environment.push(("GREENROOM_SERVER__PORT".into(), "1004".into()));
    assert_eq!(load(&around).unwrap().config.server.port, 1004);
    around.flags = vec![("server.port", "1005".into(), "--port")];
    let with_flag = load(&around).unwrap();
    assert_eq!(with_flag.config.server.port, 1005);
    assert_eq!(source(&with_flag, "server.port"), "command line --port");
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn unknown_keys_and_wrong_types_are_named() {
    assert!(refusal(&[("GREENROOM_SERVER__PROT", "1")]).contains("prot"));
    assert!(refusal(&[("GREENROOM_SREVER__PORT", "1")]).contains("srever"));
    let wrong = refusal(&[("PORT", "many")]);
    assert!(wrong.contains("server.port") && wrong.contains("environment PORT"), "{wrong}");
    assert!(refusal(&[("GREENROOM_LIMITS__DRAIN", "soon")]).contains("duration"));
    assert!(refusal(&[("GREENROOM_CONFIG", "/no/such/file.toml")]).contains("/no/such/file.toml"));
}

#[test]
fn names_of_the_replaced_system_work() {
    let loaded = loaded(&[
        ("LLM_BAWT_SERVICE_PORT", "9000"),
        ("LLM_BAWT_DEFAULT_BOT", "spark"),
        ("LLM_BAWT_POSTGRES_PASSWORD", "p@ss word"),
        ("LLM_BAWT_POSTGRES_HOST", "db"),
        ("LLM_BAWT_TEMPERATURE", "0.3"),
        ("LLM_BAWT_LLAMA_CPP_N_CTX", "4096"),
        ("LLM_BAWT_LLAMA_CPP_N_BATCH", "512"),
    ]);
    assert_eq!(loaded.config.server.port, 9000);
    assert_eq!(loaded.config.bots.default_bot, "spark");
    assert_eq!(loaded.config.bots.tunables.temperature, Some(0.3));
    assert_eq!(loaded.config.local_models.context_window, 4096);
    let url = loaded.config.store.database_url.as_ref().unwrap().expose_secret().to_owned();
    assert_eq!(url, "postgres://llm%5Fbawt:p%40ss%20word@db:5432/llm%5Fbawt");
    assert_eq!(loaded.notes, ["LLM_BAWT_LLAMA_CPP_N_BATCH has no effect in this version"]);
}

#[test]
fn beyond_loopback_keys_are_needed() {
    assert!(refusal(&[("HOST", "0.0.0.0")]).contains("GREENROOM_AUTH__ADMIN_KEY"));
    loaded(&[("HOST", "0.0.0.0"), ("GREENROOM_AUTH__ALLOW_UNAUTHENTICATED", "true")]);
    loaded(&[("HOST", "0.0.0.0"), ("GREENROOM_AUTH__ADMIN_KEY", "12345678")]);
    let keys = r#"[{"name": "ui", "key": "0123456789", "roles": ["chat", "read"], "user": "Ann"}]"#;
    let with_list = loaded(&[("HOST", "0.0.0.0"), ("GREENROOM_AUTH__KEYS", keys)]);
    assert_eq!(with_list.config.auth.keys[0].roles, [KeyRole::Chat, KeyRole::Read]);
    assert!(refusal(&[("GREENROOM_AUTH__ADMIN_KEY", "short")]).contains("8 visible"));
    assert!(refusal(&[("GREENROOM_AUTH__KEYS", r#"[{"name": "a", "roles": ["chat"]}]"#)]).contains("has no key"));
    assert!(
        refusal(&[("GREENROOM_AUTH__KEYS", r#"[{"name": "a", "key": "0123456789", "roles": ["root"]}]"#)])
            .contains("auth.keys")
    );
}

#[test]
fn every_complaint_is_made_at_once() {
    let text = refusal(&[
        ("GREENROOM_LIMITS__MAX_TURNS", "0"),
        ("GREENROOM_BOTS__DEFAULT_BOT", "no bot"),
        ("RUST_LOG", "a=b=c"),
        ("GREENROOM_AUTH__ALLOWED_ORIGINS", "example.org, https://ok.example"),
    ]);
    for part in ["limits.max_turns", "bots.default_bot", "log.filter", "'example.org'"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert!(!text.contains("ok.example"));
}

#[test]
fn secrets_are_read_from_files_and_never_shown() {
    let path = std::env::temp_dir().join(format!("greenroom-secret-{}", std::process::id()));
    std::fs::write(&path, "sesame-open-1\n").unwrap();
    let file = path.display().to_string();
    let loaded = loaded(&[
        ("OPENAI_API_KEY_FILE", &file),
        ("GREENROOM_AUTH__ADMIN_KEY_FILE", &file),
        ("DATABASE_URL", "postgres://u:sesame-open-2@h/d"),
        ("GREENROOM_AUTH__KEYS", r#"[{"name": "a", "key": "sesame-open-3", "roles": ["chat"]}]"#),
    ]);
    std::fs::remove_file(&path).unwrap();
    assert_eq!(loaded.config.providers.openai_api_key.as_ref().unwrap().expose_secret(), "sesame-open-1");
    let shown = format!("{:?} {:?} {loaded:?}", loaded.settings(), loaded.config);
    assert!(!shown.contains("sesame"), "{shown}");
    let hidden = loaded.settings().into_iter().find(|setting| setting.key == "providers.openai_api_key").unwrap();
    assert_eq!((hidden.value, hidden.source.as_str()), (HIDDEN.into(), "environment OPENAI_API_KEY"));
    let wrong = refusal(&[("GREENROOM_AUTH__ADMIN_KEY", r#"{"a": "sesame-open-4"}"#)]);
    assert!(!wrong.contains("sesame"), "{wrong}");
}

#[test]
fn a_strange_time_zone_is_noted_and_dropped() {
    let loaded = loaded(&[("TZ", "Middle/Earth")]);
    assert_eq!(loaded.config.bots.timezone, None);
    assert_eq!(loaded.notes.len(), 1);
}
