//! Keys and tokens, checked by code that knows nothing of ours: base64, JSON and `ring` only.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use epicenter_identity::{ClientId, GrantId, Scope, Scopes, UserId};
use epicenter_native::keys::{
    AccessTokenClaims, KeyError, RingVerify, SigningKey, TokenSigner, new_grant, thumbprint,
};
use epicenter_server::config::PublicOrigin;
use epicenter_server::ports::{PublicKey, Verify};
use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use serde_json::{Value, json};

fn decode(text: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(text).unwrap()
}

fn claims() -> AccessTokenClaims {
    AccessTokenClaims {
        user: UserId::parse("user1").unwrap(),
        client: ClientId::parse("epicenter-cli").unwrap(),
        scopes: Scopes::NONE.with(Scope::RoomsRead).with(Scope::RoomsWrite),
        grant: GrantId::parse("grant1").unwrap(),
        session: None,
        issued_at_ms: 1_700_000_000_999,
        lifetime_s: 600,
    }
}

#[test]
fn an_access_token_is_what_an_independent_reader_expects() {
    let (key, _) = SigningKey::generate().unwrap();
    let public = key.public().clone();
    let origin = PublicOrigin::parse("https://hub.example").unwrap();
    let signer = TokenSigner::new(key, &origin);
    let token = signer.mint_access_token(&claims()).unwrap();

    let parts: Vec<&str> = token.split('.').collect();
    let [header, payload, signature] = parts[..] else {
        panic!("a token has three parts");
    };
    let header: Value = serde_json::from_slice(&decode(header)).unwrap();
    assert_eq!(
        header,
        json!({"alg": "ES256", "typ": "at+jwt", "kid": public.kid})
    );
    let mut body: Value = serde_json::from_slice(&decode(payload)).unwrap();
    let jti = body.as_object_mut().unwrap().remove("jti").unwrap();
    assert_eq!(
        body,
        json!({
            "iss": "https://hub.example/auth",
            "aud": ["https://hub.example"],
            "sub": "user1",
            "client_id": "epicenter-cli",
            "azp": "epicenter-cli",
            "scope": "rooms.read rooms.write",
            "iat": 1_700_000_000,
            "exp": 1_700_000_600,
            "gid": "grant1",
        })
    );
    let signature = decode(signature);
    assert_eq!(signature.len(), 64);
    let signed = token.rsplit_once('.').unwrap().0;
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, public.point)
        .verify(signed.as_bytes(), &signature)
        .unwrap();

    let again = signer.mint_access_token(&claims()).unwrap();
    let again: Value = serde_json::from_slice(&decode(again.split('.').nth(1).unwrap())).unwrap();
    assert_ne!(again["jti"], jti, "every token has an id of its own");
}

#[test]
fn a_token_of_a_browser_session_names_it() {
    let (key, _) = SigningKey::generate().unwrap();
    let signer = TokenSigner::new(key, &PublicOrigin::parse("http://127.0.0.1:8787").unwrap());
    let claims = AccessTokenClaims {
        session: Some("s1".to_owned()),
        ..claims()
    };
    let token = signer.mint_access_token(&claims).unwrap();
    let body: Value = serde_json::from_slice(&decode(token.split('.').nth(1).unwrap())).unwrap();
    assert_eq!(body["sid"], "s1");
}

#[test]
fn signatures_verify_and_nothing_else_does() {
    let (key, pkcs8) = SigningKey::generate().unwrap();
    let (other, _) = SigningKey::generate().unwrap();
    let reread = SigningKey::from_pkcs8(&pkcs8).unwrap();
    assert_eq!(reread.public(), key.public());
    let signature = reread.sign(b"message").unwrap();
    let check = |key: &PublicKey, message: &[u8], signature: &[u8; 64], expect| {
        assert_eq!(RingVerify.verify_es256(key, message, signature), expect);
    };
    check(key.public(), b"message", &signature, true);
    check(key.public(), b"massage", &signature, false);
    check(other.public(), b"message", &signature, false);
    check(key.public(), b"message", &[0; 64], false);
    for at in 0..64 {
        let mut tampered = signature;
        tampered[at] ^= 1;
        check(key.public(), b"message", &tampered, false);
    }
    let no_point = PublicKey {
        kid: "x".to_owned(),
        point: [4; 65],
    };
    check(&no_point, b"message", &signature, false);
}

/// The key and signature of RFC 7515 appendix A.3.
#[test]
fn a_published_signature_verifies() {
    let mut point = vec![4];
    point.extend(decode("f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU"));
    point.extend(decode("x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"));
    let key = PublicKey {
        kid: String::new(),
        point: point.try_into().unwrap(),
    };
    let message = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    let signature = decode(
        "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
    );
    assert!(RingVerify.verify_es256(&key, message.as_bytes(), &signature.try_into().unwrap()));
}

#[test]
fn a_key_id_is_the_thumbprint_of_its_jwk() {
    let (key, _) = SigningKey::generate().unwrap();
    let public = key.public();
    assert_eq!(public.kid, thumbprint(&public.point));
    let jwk = json!({
        "crv": "P-256",
        "kty": "EC",
        "x": URL_SAFE_NO_PAD.encode(&public.point[1..33]),
        "y": URL_SAFE_NO_PAD.encode(&public.point[33..]),
    });
    // The members in lexicographic order, without white space, as RFC 7638 section 3 wants them.
    let digest = ring::digest::digest(&ring::digest::SHA256, jwk.to_string().as_bytes());
    assert_eq!(public.kid, URL_SAFE_NO_PAD.encode(digest));
    assert_eq!(public.kid.len(), 43);
}

#[test]
fn what_is_no_key_is_refused_and_no_private_part_is_shown() {
    assert_eq!(
        SigningKey::from_pkcs8(b"no key").unwrap_err(),
        KeyError::Malformed
    );
    let (key, _) = SigningKey::generate().unwrap();
    assert_eq!(
        format!("{key:?}"),
        format!("SigningKey({}, private part redacted)", key.public().kid)
    );
    assert_ne!(new_grant().unwrap(), new_grant().unwrap());
}
