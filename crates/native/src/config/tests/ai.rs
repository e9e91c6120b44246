//! Providers and models.

use super::*;

const AI_FILE: &str = r#"
    [ai]
    credits = 100
    max_unpaid_call = "off"
    max_streams = 3
    max_body_bytes = "1MiB"
    max_answer_bytes = "2MiB"
    first_byte_timeout = "2s"
    silence_timeout = "3s"
    answer_timeout = "4s"
    keep_alive = "5s"
    [rate_limits]
    ai = 7
    [[ai.providers]]
    name = "ollama"
    base_url = "http://127.0.0.1:11434/v1/"
    [[ai.providers]]
    name = "router"
    base_url = "https://router.example/v1"
    key_env = "ROUTER_KEY"
    own_key = true
    [[ai.models]]
    provider = "ollama"
    model = "llama3.2"
    context = 131072
    credits = 0.5
    capabilities = ["images"]
    fallback = "openai/gpt-4o"
    [[ai.models]]
    provider = "router"
    model = "some/model"
    input_credits = 12.5
    output_credits = 50
"#;

#[test]
fn ai_is_configured_and_its_keys_are_never_shown() {
    use epicenter_server::ai::catalog::{Credits, Price};
    use epicenter_server::ai::settings::ProviderKey;
    const ROUTER: &str = "sk-router-canary-93481";
    const GEMINI: &str = "gem-canary-58213";
    let place = Place::new(AI_FILE)
        .with("OPENAI_API_KEY", STRONG)
        .with("ROUTER_KEY", ROUTER)
        .with("GEMINI_API_KEY_FILE", "gemini.key")
        .with("GEMINI_BASE_URL", "http://127.0.0.1:9/")
        .with("ANTHROPIC_BASE_URL", "https://api.anthropic.com/");
    fs::write(place.path().join("gemini.key"), format!("{GEMINI}\n")).unwrap();
    let loaded = place.load().unwrap_or_else(|error| panic!("{error}"));
    let config = &loaded.config;
    assert_eq!(config.ai_credits.opening, Some(100));
    assert_eq!(config.ai_credits.unpaid_call, None);
    assert_eq!(config.rate_limits.ai.count, 7);
    let ai = &config.ai;
    assert_eq!(
        (ai.max_streams, ai.max_body_bytes, ai.max_answer_bytes),
        (3, 1 << 20, 2 << 20)
    );
    let times = ai.times;
    let times = [
        times.first_byte_ms,
        times.silence_ms,
        times.answer_ms,
        times.keep_alive_ms,
    ];
    assert_eq!(times, [2_000, 3_000, 4_000, 5_000]);
    let held = |key: &ProviderKey| match key {
        ProviderKey::Held(key) => key.expose().to_owned(),
        other => format!("{other:?}"),
    };
    let providers = ai.providers.iter().map(|provider| {
        let base_url = provider.base_url.as_str();
        (
            provider.name.as_str(),
            base_url,
            held(&provider.key),
            provider.own_key,
        )
    });
    assert_eq!(
        providers.collect::<Vec<_>>(),
        [
            (
                "openai",
                "https://api.openai.com/v1",
                STRONG.to_owned(),
                true
            ),
            // Not where a caller's key belongs.
            ("gemini", "http://127.0.0.1:9", GEMINI.to_owned(), false),
            (
                "anthropic",
                "https://api.anthropic.com",
                "Missing".to_owned(),
                true
            ),
            (
                "ollama",
                "http://127.0.0.1:11434/v1",
                "NotNeeded".to_owned(),
                false
            ),
            (
                "router",
                "https://router.example/v1",
                ROUTER.to_owned(),
                true
            ),
        ]
    );
    let [llama, routed] = ai.models.as_slice() else {
        panic!("{:?}", ai.models);
    };
    assert_eq!(llama.price, Price::PerCall(Credits::thousandths(500)));
    assert!(llama.capabilities.images && !llama.capabilities.tools);
    assert_eq!(
        llama.fallback,
        Some(("openai".to_owned(), "gpt-4o".to_owned()))
    );
    let price = Price::PerMillionTokens {
        input: Credits::thousandths(12_500),
        output: Credits::whole(50),
    };
    assert_eq!(routed.price, price);

    let printed = render(&loaded);
    let debugged = format!("{loaded:?}");
    for secret in [STRONG, ROUTER, GEMINI] {
        assert!(!printed.contains(secret), "{printed}");
        assert!(!debugged.contains(secret), "{debugged}");
    }
    assert!(
        printed.contains("# OPENAI_API_KEY: ******** (from OPENAI_API_KEY)"),
        "{printed}"
    );
    let again = Place::new(&printed).config();
    assert_eq!(again.ai.models, ai.models);
    assert_eq!(again.ai.providers.len(), 5);
    assert_eq!(again.ai_credits, config.ai_credits);
}

#[test]
fn what_a_table_says_of_a_built_in_model_changes_and_the_rest_stays() {
    use epicenter_server::ai::catalog::{Credits, Model, Price};
    let loaded = Place::new(
        r#"
        [[ai.providers]]
        name = "ollama"
        base_url = "http://127.0.0.1:11434/v1"
        [[ai.models]]
        provider = "openai"
        model = "gpt-5"
        fallback = "ollama/gpt-5"
        [[ai.models]]
        provider = "gemini"
        model = "gemini-3-flash-preview"
        context = 1000
        credits = 0
        wants_signatures = false
        [[ai.models]]
        provider = "openai"
        model = "gpt-of-tomorrow"
        ignores_sampling = true
        wants_signatures = true
        fallback = "openai/gpt-5-mini"
        [[ai.models]]
        provider = "ollama"
        model = "gpt-5"
        "#,
    )
    .load()
    .unwrap();
    let [gpt, gemini, unknown, namesake] = loaded.config.ai.models.as_slice() else {
        panic!("{:?}", loaded.config.ai.models);
    };
    let built_in = Model::built_in("openai", "gpt-5").unwrap();
    assert!(built_in.ignores_sampling && built_in.capabilities.reasoning);
    assert_eq!(built_in.context_tokens, 400_000);
    let price = Price::PerMillionTokens {
        input: Credits::whole(125),
        output: Credits::whole(1_000),
    };
    assert_eq!(built_in.price, price);
    let fallback = Some(("ollama".to_owned(), "gpt-5".to_owned()));
    assert_eq!(
        *gpt,
        Model {
            fallback,
            ..built_in
        }
    );
    assert_eq!(
        *gemini,
        Model {
            context_tokens: 1_000,
            max_output_tokens: 1_000,
            price: Price::PerCall(Credits::ZERO),
            wants_signatures: false,
            ..Model::built_in("gemini", "gemini-3-flash-preview").unwrap()
        }
    );
    assert_eq!(
        *unknown,
        Model {
            ignores_sampling: true,
            wants_signatures: true,
            fallback: Some(("openai".to_owned(), "gpt-5-mini".to_owned())),
            ..Model::plain("openai", "gpt-of-tomorrow")
        }
    );
    assert_eq!(*namesake, Model::plain("ollama", "gpt-5"));
    let printed = Place::new(&render(&loaded)).config();
    assert_eq!(printed.ai.models, loaded.config.ai.models);
}

#[test]
fn wrong_ai_settings_are_named_without_keys() {
    #[track_caller]
    fn check(file: &str, expect: &str) {
        let place = Place::new(file)
            .with("SPACED", "sk canary")
            .with("OPENAI_API_KEY", "sk-good");
        let complaint = place.complaint();
        assert!(complaint.contains(expect), "{complaint}");
        assert!(!complaint.contains("canary"), "{complaint}");
    }
    let provider = |lines: &str| {
        format!("[[ai.providers]]\nname = \"x\"\nbase_url = \"http://x/v1\"\n{lines}")
    };
    let model =
        |lines: &str| format!("[[ai.models]]\nprovider = \"openai\"\nmodel = \"m\"\n{lines}");
    check(
        "[ai]\nopenai_api_key = \"sk-canary\"",
        "set OPENAI_API_KEY in the environment",
    );
    check(&provider("key = \"sk-canary\""), "a provider has: name");
    check(
        &provider("key_env = \"SPACED\""),
        "holds a key that holds spaces",
    );
    check(
        &provider("key_env = \"ABSENT\""),
        "names ABSENT, which is not set",
    );
    check(&provider("key_file = \"absent\""), "cannot be read");
    check(
        &provider("key_env = \"A\"\nkey_file = \"b\""),
        "is beside `key_file`",
    );
    check(
        "[[ai.providers]]\nname = \"openai\"\nbase_url = \"http://x\"",
        "`name` is taken",
    );
    check(
        "[[ai.providers]]\nname = \"X Y\"\nbase_url = \"http://x\"",
        "`name` is malformed",
    );
    check(
        "[[ai.providers]]\nname = \"x\"\nbase_url = \"ftp://x\"",
        "`base_url` is no http",
    );
    check(
        "[[ai.providers]]\nname = \"x\"\nbase_url = \"http://a@x\"",
        "`base_url` is no http",
    );
    check(
        "[[ai.models]]\nprovider = \"x\"\nmodel = \"m\"",
        "`provider` is not configured",
    );
    check(&model("fallback = \"x/y\""), "`fallback` names a provider");
    check(&model("fallback = \"x\""), "`fallback` is no model");
    check(
        &model("fallback = \"openai/gpt-0\""),
        "`fallback` names a model that is not there",
    );
    check(
        &model("fallback = \"openai/gemini-2.5-pro\""),
        "name a built-in model, or one that has a table of [[ai.models]]",
    );
    check(
        &model("ignores_sampling = 1"),
        "`ignores_sampling` is neither true nor false",
    );
    check(
        &model("credits = 1\ninput_credits = 1"),
        "does not go with the other prices",
    );
    check(&model("credits = -1"), "`credits` is no number of credits");
    check(&model("context = 0"), "`context` is no such number");
    check(
        &model("capabilities = [\"smell\"]"),
        "`capabilities` holds \"smell\"",
    );
    check(
        &format!("{}{}", model(""), model("")),
        "`model` is there twice",
    );
    check("[ai]\ncredits = \"many\"", "`ai.credits`");
    let empty = Place::new("")
        .with("GEMINI_API_KEY", "a key with canary")
        .complaint();
    assert!(
        empty.contains("GEMINI_API_KEY") && !empty.contains("canary"),
        "{empty}"
    );
}
