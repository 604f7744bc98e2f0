//! Which request paths are closed.
//!
//! The path is judged as the filter sees it. Whoever wants `/x/../admin` or `/%61dmin` to count as
//! `/admin` turns on `normalize_path` in the connection manager, which runs before any filter.

/// The root of the closed part of the path space.
pub const CLOSED_ROOT: &[u8] = b"/admin";

/// True for `/admin` itself and for everything below `/admin/`, whatever the query string says.
///
/// `path` is the value of `:path`: hostile bytes, not necessarily UTF-8.
pub fn is_closed(path: &[u8]) -> bool {
    match without_query(path).strip_prefix(CLOSED_ROOT) {
        Some(rest) => rest.is_empty() || rest[0] == b'/',
        None => false,
    }
}

fn without_query(path: &[u8]) -> &[u8] {
    let end = path.iter().position(|byte| matches!(byte, b'?' | b'#'));
    &path[..end.unwrap_or(path.len())]
}

#[cfg(test)]
mod tests {
    use super::is_closed;

    #[test]
    fn the_root_itself_is_closed() {
        assert!(is_closed(b"/admin"));
    }

    #[test]
    fn everything_below_the_root_is_closed() {
        assert!(is_closed(b"/admin/"));
        assert!(is_closed(b"/admin/users/7"));
    }

    #[test]
    fn a_query_or_a_fragment_does_not_open_the_root() {
        assert!(is_closed(b"/admin?x=1"));
        assert!(is_closed(b"/admin/?x=/public"));
        assert!(is_closed(b"/admin#top"));
    }

    #[test]
    fn a_name_that_only_begins_like_the_root_is_open() {
        assert!(!is_closed(b"/administrator"));
        assert!(!is_closed(b"/admin-guide/"));
    }

    #[test]
    fn the_root_inside_a_query_is_open() {
        assert!(!is_closed(b"/?next=/admin"));
        assert!(!is_closed(b"/search?/admin/"));
    }

    #[test]
    fn other_paths_are_open() {
        assert!(!is_closed(b""));
        assert!(!is_closed(b"*"));
        assert!(!is_closed(b"/"));
        assert!(!is_closed(b"/api/admin"));
        assert!(!is_closed(b"/ADMIN"));
    }

    #[test]
    fn bytes_that_are_no_utf8_are_judged_too() {
        assert!(is_closed(b"/admin/\xff\xfe"));
        assert!(!is_closed(b"/\xff/admin"));
    }
}
