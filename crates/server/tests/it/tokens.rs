//! The `jws` cases of `oauth.json`, and what the file leaves open.

use std::path::PathBuf;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use epicenter_server::auth::token::{
    AcceptedTypes, Claims, CompactToken, TokenError, TokenVerifier, VerifierOptions,
};
use epicenter_server::ports::PublicKey;
use serde_json::{Value, json};

use crate::hub::{NOW, Signer};
use crate::ports::RingVerify;

/// The shared vectors when they lie beside the project, else its own copy.
fn vectors(name: &str) -> Value {
    let root = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    let shared = root.join("../shared/vectors").join(name);
    let own = root.join("vectors").join(name);
    let text = std::fs::read_to_string(shared).or_else(|_| std::fs::read_to_string(own));
    serde_json::from_str(&text.unwrap()).unwrap()
}

fn keys(file: &Value) -> Vec<PublicKey> {
    let coordinate =
        |key: &Value, name: &str| URL_SAFE_NO_PAD.decode(key[name].as_str().unwrap()).unwrap();
    let keys = file["jwks"]["keys"].as_array().unwrap();
    keys.iter()
        .map(|key| {
            let point = [vec![4], coordinate(key, "x"), coordinate(key, "y")].concat();
            PublicKey {
                kid: key["kid"].as_str().unwrap().to_owned(),
                point: point.try_into().unwrap(),
            }
        })
        .collect()
}

fn verifier(options: &Value, types: AcceptedTypes) -> TokenVerifier {
    let options = VerifierOptions {
        issuer: options["issuer"].as_str().unwrap().to_owned(),
        audience: options["audience"].as_str().unwrap().to_owned(),
        types,
    };
    TokenVerifier::new(Arc::new(RingVerify::default()), options)
}

fn check(
    verifier: &TokenVerifier,
    keys: &[PublicKey],
    token: &str,
    now: u64,
) -> Result<Claims, TokenError> {
    let token = CompactToken::parse(token)?;
    let key = keys
        .iter()
        .find(|key| key.kid == token.key_id())
        .ok_or(TokenError::UnknownKey)?;
    verifier.verify(&token, key, now * 1_000)
}

#[test]
fn every_jws_case_of_the_vectors_passes() {
    let file = vectors("oauth.json");
    let keys = keys(&file);
    let mut seen = 0;
    for case in file["cases"].as_array().unwrap() {
        if case["kind"] != "jws" {
            continue;
        }
        seen += 1;
        let id = case["id"].as_str().unwrap();
        let options = &case["verify"];
        let verifier = verifier(options, AcceptedTypes::Any);
        let now = options["now"].as_u64().unwrap();
        let found = check(&verifier, &keys, case["token"].as_str().unwrap(), now);
        let expect = &case["expect"];
        assert_eq!(
            found.is_ok(),
            expect["valid"].as_bool().unwrap(),
            "{id}: {found:?}"
        );
        if let Ok(claims) = found {
            let expect = &expect["claims"];
            assert_eq!(json!(claims.subject), expect["sub"], "{id}");
            assert_eq!(json!(claims.scope), expect["scope"], "{id}");
            assert_eq!(json!(claims.client), expect["azp"], "{id}");
            assert_eq!(
                json!(claims.expires_at_ms),
                json!(expect["exp"].as_u64().unwrap() * 1_000)
            );
        }
    }
    assert_eq!(seen, 50, "cases of this kind in the file");
}

#[test]
fn what_the_vectors_leave_open_is_decided() {
    let file = vectors("oauth.json");
    let keys = keys(&file);
    let any = verifier(&file["verify"], AcceptedTypes::Any);
    let ours = verifier(&file["verify"], AcceptedTypes::AccessToken);
    for case in file["ambiguous"].as_array().unwrap() {
        let token = case["token"].as_str().unwrap();
        let of_any = check(&any, &keys, token, NOW).map(|claims| claims.subject);
        let of_ours = check(&ours, &keys, token, NOW).map(|claims| claims.subject);
        let good = Ok("user_V1StGXR8_Z5jdHi6B".to_owned());
        let other_type = Err(TokenError::Type);
        let (expect_any, expect_ours) = match case["id"].as_str().unwrap() {
            // A key is named, never tried.
            "jws-no-kid" => (Err(TokenError::NoKeyId), Err(TokenError::NoKeyId)),
            "jws-typ-at+jwt" => (good.clone(), good),
            "jws-typ-other" => (good, other_type),
            // Clocks of processes differ; `nbf` is the claim that keeps a token back.
            "jws-iat-future" => (good, other_type),
            // Nobody's client, and no scope: whoever needs them refuses.
            "jws-no-azp" | "jws-no-scope" => (good, other_type),
            "jws-empty-sub" => (Err(TokenError::Claim("sub")), other_type),
            // A NumericDate may have a fraction (RFC 7519 section 2).
            "jws-exp-fraction" => (good, other_type),
            id => panic!("{id} is not decided"),
        };
        assert_eq!(
            (of_any, of_ours),
            (expect_any, expect_ours),
            "{}",
            case["id"]
        );
    }
}

/// What a verifier with the hub's types says of a token of this header and these claims.
fn verdict(header: &str, claims: &str) -> Result<Claims, TokenError> {
    let signer = Signer::new("k");
    let options = json!({ "issuer": "i", "audience": "a" });
    let verifier = verifier(&options, AcceptedTypes::AccessToken);
    check(
        &verifier,
        &[signer.public()],
        &signer.sign(header, claims),
        NOW,
    )
}

const HEADER: &str = r#"{"alg":"ES256","typ":"at+jwt","kid":"k"}"#;
const CLAIMS: &str = r#"{"iss":"i","aud":"a","sub":"s","iat":1,"exp":1800000001}"#;

#[test]
fn the_type_is_compared_as_a_media_type() {
    let with = |typ: &str| verdict(&HEADER.replace("\"at+jwt\"", typ), CLAIMS).map(|_| ());
    assert_eq!(with("\"at+jwt\""), Ok(()));
    assert_eq!(with("\"AT+JWT\""), Ok(()));
    assert_eq!(with("\"application/at+jwt\""), Ok(()));
    assert_eq!(with("\"JWT\""), Err(TokenError::Type));
    assert_eq!(with("\"at+jwt \""), Err(TokenError::Type));
    assert!(matches!(with("null"), Err(TokenError::Malformed(_))));
    assert_eq!(
        verdict(r#"{"alg":"ES256","kid":"k"}"#, CLAIMS).map(|_| ()),
        Err(TokenError::Type)
    );
}

#[test]
fn a_header_says_each_thing_once_and_nothing_critical() {
    let malformed = |header: &str| {
        let found = verdict(header, CLAIMS);
        assert!(
            matches!(found, Err(TokenError::Malformed(_))),
            "{header}: {found:?}"
        );
    };
    malformed(r#"{"alg":"none","alg":"ES256","typ":"at+jwt","kid":"k"}"#);
    malformed(r#"{"alg":"ES256","typ":"at+jwt","kid":"other","kid":"k"}"#);
    malformed(r#"{"alg":"ES256","typ":"JWT","typ":"at+jwt","kid":"k"}"#);
    malformed(r#"{"alg":"ES256","typ":"at+jwt","kid":"k","crit":[]}"#);
    malformed(r#"{"alg":"ES256","typ":"at+jwt","kid":"k","crit":null}"#);
    malformed(r#"["ES256","k","at+jwt"]"#);
    malformed(r#"{"alg":"ES256","typ":"at+jwt","kid":1}"#);
}

#[test]
fn claims_are_of_their_types_and_not_given_twice() {
    let refused = |claims: &str| assert!(verdict(HEADER, claims).is_err(), "{claims}");
    assert!(verdict(HEADER, CLAIMS).is_ok());
    assert!(verdict(HEADER, &format!(" {CLAIMS}")).is_ok());
    refused(&CLAIMS.replace(r#""sub":"s""#, r#""sub":"s","sub":"t""#));
    refused(&CLAIMS.replace(r#""exp":1800000001"#, r#""exp":1,"exp":1800000001"#));
    refused(&CLAIMS.replace(r#""iat":1"#, r#""iat":1,"nbf":null"#));
    refused(&CLAIMS.replace(r#""aud":"a""#, r#""aud":[]"#));
    refused(&CLAIMS.replace(r#""aud":"a""#, r#""aud":{"a":1}"#));
    refused(&CLAIMS.replace("1800000001", "-1"));
    refused(&CLAIMS.replace("1800000001", "1e999"));
    refused(&CLAIMS.replace(r#""iat":1"#, r#""iat":1,"client_id":"x","azp":"y""#));
}

#[test]
fn encodings_are_strict_and_sizes_bounded() {
    let signer = Signer::new("k");
    let good = signer.sign(HEADER, CLAIMS);
    assert!(CompactToken::parse(&good).is_ok());
    let malformed = |token: String| {
        let found = CompactToken::parse(&token);
        assert!(
            matches!(found, Err(TokenError::Malformed(_))),
            "{token}: {found:?}"
        );
    };
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let (header, claims) = signed.split_once('.').unwrap();
    malformed(format!("{good}="));
    malformed(format!("{header}=.{claims}.{signature}"));
    malformed(format!(" {good}"));
    malformed(format!("{good}\n"));
    malformed(format!("{good}.{signature}"));
    malformed(signed.to_owned());
    // 64 bytes leave four bits over in the last of 86 digits; they must be zero.
    let digit = signature.chars().last().unwrap();
    let bent = match digit {
        'A' => 'B',
        'Q' => 'R',
        'g' => 'h',
        'w' => 'x',
        other => panic!("{other} cannot end 64 bytes"),
    };
    malformed(format!("{signed}.{}{bent}", &signature[..85]));
    malformed(format!("{header}.{}.{signature}", "A".repeat(8 * 1024)));
    // The right bytes in the standard alphabet are not base64url.
    malformed(format!("{header}.{claims}.{}", "+".repeat(86)));
}
