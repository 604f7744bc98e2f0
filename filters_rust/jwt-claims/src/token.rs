//! The payload of a JSON Web Token (RFC 7519) in its compact form. Nothing here checks a signature.

use serde_json::{Map, Value};

/// Bytes that a token may have; headers are rarely longer anywhere.
pub const MAX_BYTES: usize = 64 * 1024;

/// The claims of a token; None where it is none.
pub fn claims(token: &[u8]) -> Option<Map<String, Value>> {
    if token.len() > MAX_BYTES {
        return None;
    }
    let mut parts = token.split(|byte| *byte == b'.');
    let (_head, payload, _signature) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    match serde_json::from_slice(&decode(payload)?) {
        Ok(Value::Object(claims)) => Some(claims),
        _ => None,
    }
}

/// Base64url without padding (RFC 7515 §2).
fn decode(text: &[u8]) -> Option<Vec<u8>> {
    if text.len() % 4 == 1 {
        return None;
    }
    let mut out = Vec::with_capacity(text.len() * 3 / 4);
    let (mut bits, mut count) = (0u32, 0);
    for byte in text {
        bits = bits << 6 | digit(*byte)?;
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push((bits >> count) as u8);
            bits &= (1 << count) - 1;
        }
    }
    Some(out)
}

fn digit(byte: u8) -> Option<u32> {
    let value = match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'-' => 62,
        b'_' => 63,
        _ => return None,
    };
    Some(u32::from(value))
}

/// A claim by the path of its name: `realm_access.roles`. A name with points in it is found first.
pub fn find<'a>(claims: &'a Map<String, Value>, path: &str) -> Option<&'a Value> {
    if let Some(value) = claims.get(path) {
        return Some(value);
    }
    path.match_indices('.')
        .find_map(|(at, _)| match claims.get(&path[..at]) {
            Some(Value::Object(inner)) => find(inner, &path[at + 1..]),
            _ => None,
        })
}

/// A claim as a header's value; None where it has none: null, an object, a text that would break a header.
pub fn text(value: &Value, separator: &str) -> Option<String> {
    match value {
        Value::String(text) => filter_kit::headers::is_value(text).then(|| text.clone()),
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        Value::Array(items) => {
            let texts: Vec<String> = items
                .iter()
                .map(|item| {
                    if item.is_array() {
                        None
                    } else {
                        text(item, separator)
                    }
                })
                .collect::<Option<_>>()?;
            Some(texts.join(separator))
        }
        Value::Null | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_payload_of_a_token_is_read() {
        // {"alg":"none"} . {"sub":"al","n":1}
        let read = claims(b"eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbCIsIm4iOjF9.").unwrap();
        assert_eq!(Value::Object(read), json!({"sub": "al", "n": 1}));
    }

    #[test]
    fn what_is_no_token_has_no_claims() {
        for token in [
            &b""[..],
            b"a",
            b"a.b",
            b"a.b.c",
            b"a.e30.c.d",
            b"a.e30=.c",
            b"a.W10.c",
            b"a.e3.c",
            b"..",
            b"a.\xff.c",
        ] {
            assert!(claims(token).is_none(), "{token:?}");
        }
        assert!(claims(&[b'a'; MAX_BYTES + 1]).is_none());
        assert!(claims(b"a.e30.c").is_some());
    }

    #[test]
    fn every_byte_can_be_written() {
        assert_eq!(
            decode(b"AAECA__--w").unwrap(),
            [0, 1, 2, 3, 255, 254, 251][..].to_vec()
        );
    }

    #[test]
    fn claims_are_found_by_path_and_a_whole_name_goes_first() {
        let Value::Object(claims) =
            json!({"a": {"b": {"c": 1}}, "x.y": 2, "x": {"y": 3}, "u.v": {"w": 4}})
        else {
            panic!()
        };
        assert_eq!(find(&claims, "a.b.c"), Some(&json!(1)));
        assert_eq!(find(&claims, "x.y"), Some(&json!(2)));
        assert_eq!(find(&claims, "u.v.w"), Some(&json!(4)));
        assert_eq!(find(&claims, "a.c"), None);
        assert_eq!(find(&claims, "a.b.c.d"), None);
    }

    #[test]
    fn values_become_text_unless_they_would_break_a_header() {
        assert_eq!(text(&json!("x y"), ","), Some("x y".to_owned()));
        assert_eq!(
            text(&json!(["a", 1, true]), ","),
            Some("a,1,true".to_owned())
        );
        assert_eq!(text(&json!(1.5), ","), Some("1.5".to_owned()));
        for value in [
            json!(null),
            json!({}),
            json!("a\r\nb"),
            json!(["a", {}]),
            json!([["a"]]),
        ] {
            assert_eq!(text(&value, ","), None);
        }
    }
}
