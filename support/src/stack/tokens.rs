//! JSON Web Tokens as the services of the sample application take and refuse them
//! (tasktracker.md §5).

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

/// How a token is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signature<'s> {
    /// HS256 with this secret.
    Hs256(&'s str),
    /// The algorithm `none`: an empty signature.
    None,
}

/// A token with these claims.
pub fn token(claims: &Value, signature: Signature<'_>) -> String {
    let algorithm = if signature == Signature::None { "none" } else { "HS256" };
    let header = json!({ "alg": algorithm, "typ": "JWT" });
    let signed = format!("{}.{}", encode(header.to_string()), encode(claims.to_string()));
    let signature = match signature {
        Signature::Hs256(secret) => encode(hs256(&signed, secret)),
        Signature::None => String::new(),
    };
    format!("{signed}.{signature}")
}

/// The claims of a token that HS256 with `secret` has signed; none for any other text. Whether
/// it has expired is not looked at.
pub fn verified_claims(token: &str, secret: &str) -> Option<Value> {
    let (signed, signature) = token.rsplit_once('.')?;
    let (header, claims) = signed.split_once('.')?;
    let read = |part: &str| serde_json::from_slice::<Value>(&URL_SAFE_NO_PAD.decode(part).ok()?).ok();
    let is_good = read(header)?["alg"] == "HS256" && signature == encode(hs256(signed, secret));
    if is_good { read(claims) } else { None }
}

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn hs256(signed: &str, secret: &str) -> Vec<u8> {
    // HMAC takes keys of any length.
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap_or_else(|_| unreachable!("any length"));
    mac.update(signed.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use pretty_assertions::assert_eq;

    /// The example of RFC 7515, appendix A.1: its key is given in base64url.
    const KEY: &str = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";
    const SIGNED: &str = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";

    #[test]
    fn the_signature_is_that_of_the_standard() {
        let key = URL_SAFE_NO_PAD.decode(KEY).expect("base64url");
        let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("any length");
        mac.update(SIGNED.as_bytes());
        assert_eq!(encode(mac.finalize().into_bytes()), "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk");
    }

    #[test]
    fn only_the_secret_that_signed_verifies() {
        let claims = json!({ "sub": "ada", "exp": 1 });
        let signed = token(&claims, Signature::Hs256("secret"));
        assert_eq!(verified_claims(&signed, "secret"), Some(claims.clone()));
        assert_eq!(verified_claims(&signed, "other"), None);
        assert_eq!(verified_claims(&token(&claims, Signature::None), "secret"), None);
        assert_eq!(verified_claims("garbage", "secret"), None);
    }
}
