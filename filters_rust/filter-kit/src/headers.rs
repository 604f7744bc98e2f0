//! What may stand in a header, and simple reading of what does.

/// True for a header's name (RFC 9110 §5.6.2).
pub fn is_name(text: &str) -> bool {
    let is_tchar = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(is_tchar)
}

/// True for a header's value (RFC 9110 §5.5): visible ASCII and inner blanks only.
pub fn is_value(text: &str) -> bool {
    text == text.trim() && text.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\t'))
}

/// The path without query and fragment. `path` is hostile: not necessarily UTF-8.
pub fn without_query(path: &[u8]) -> &[u8] {
    let end = path.iter().position(|byte| matches!(byte, b'?' | b'#'));
    &path[..end.unwrap_or(path.len())]
}

/// True where `path` is `root` or lies below it.
pub fn is_under(path: &[u8], root: &[u8]) -> bool {
    let root = root.strip_suffix(b"/").unwrap_or(root);
    match without_query(path).strip_prefix(root) {
        Some(rest) => rest.is_empty() || rest[0] == b'/',
        None => false,
    }
}

/// The value of a cookie in a `cookie` header (RFC 6265 §4.2.1).
pub fn cookie<'a>(header: &'a [u8], name: &str) -> Option<&'a [u8]> {
    header.split(|byte| *byte == b';').find_map(|pair| {
        let pair = pair.trim_ascii();
        let rest = pair.strip_prefix(name.as_bytes())?;
        rest.strip_prefix(b"=")
    })
}

/// An address as properties give it, without its port: `127.0.0.1:80`, `[::1]:80`.
pub fn without_port(address: &[u8]) -> &[u8] {
    match address.iter().rposition(|byte| *byte == b':') {
        Some(colon) if address.ends_with(b"]") || colon == 0 => address,
        Some(colon) => &address[..colon],
        None => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_tokens() {
        assert!(is_name("x-a") && is_name("X_1"));
        assert!(!is_name("") && !is_name("a b") && !is_name(":path") && !is_name("\u{e4}"));
    }

    #[test]
    fn values_have_no_line_breaks_and_no_outer_blanks() {
        assert!(is_value("") && is_value("a b\tc"));
        assert!(!is_value("a\r\nb: c") && !is_value(" a") && !is_value("\u{e4}"));
    }

    #[test]
    fn a_path_is_under_its_root_whatever_the_query_says() {
        assert!(
            is_under(b"/api", b"/api") && is_under(b"/api/x?y", b"/api/") && is_under(b"/x", b"/")
        );
        assert!(is_under(b"/api?x=/y", b"/api") && is_under(b"/api#x", b"/api"));
        assert!(
            !is_under(b"/apix", b"/api") && !is_under(b"/x?/api", b"/api") && !is_under(b"", b"/a")
        );
    }

    #[test]
    fn a_cookie_is_found_by_its_whole_name() {
        assert_eq!(cookie(b"a=1; bb=2;b=3", "b"), Some(&b"3"[..]));
        assert_eq!(cookie(b"a=1=2", "a"), Some(&b"1=2"[..]));
        assert_eq!(cookie(b"ab=1", "a"), None);
        assert_eq!(cookie(b"", "a"), None);
    }

    #[test]
    fn the_port_of_an_address_goes() {
        assert_eq!(without_port(b"127.0.0.1:80"), b"127.0.0.1");
        assert_eq!(without_port(b"[::1]:80"), b"[::1]");
        assert_eq!(without_port(b"[::1]"), b"[::1]");
        assert_eq!(without_port(b""), b"");
    }
}
