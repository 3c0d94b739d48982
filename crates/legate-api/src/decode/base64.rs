//! Base64 as Kubernetes writes it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Decodes; line breaks and blanks, as YAML blocks leave them, do not count.
pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    if text.bytes().any(|byte| byte.is_ascii_whitespace()) {
        let packed: Vec<u8> = text
            .bytes()
            .filter(|byte| !byte.is_ascii_whitespace())
            .collect();
        return STANDARD.decode(packed).ok();
    }
    STANDARD.decode(text).ok()
}
