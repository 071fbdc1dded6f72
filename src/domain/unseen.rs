//! Which characters does nobody see, though they change what is read? Controls, and what hides, turns or joins the letters
//! beside it.

/// The general categories Cc, Cf, Zl and Zp (Unicode 16, §4.5).
pub fn is_unseen(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{890}'..='\u{891}' | '\u{8e2}'
            | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2064}'
            | '\u{2066}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{110bd}' | '\u{110cd}'
            | '\u{13430}'..='\u{1343f}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0001}'
            | '\u{e0020}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_those_categories() {
        let oracle = regex::Regex::new(r"^[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]$").unwrap();
        for c in '\0'..=char::MAX {
            assert_eq!(is_unseen(c), oracle.is_match(c.encode_utf8(&mut [0; 4])), "{:x}", u32::from(c));
        }
    }

    /// The standard library writes an escape for what cannot be printed, which is more: other spaces, and what has no meaning.
    #[test]
    fn what_is_unseen_cannot_be_printed() {
        for c in ('\0'..=char::MAX).filter(|c| is_unseen(*c)) {
            let written: String = c.escape_debug().collect();
            assert!(written.starts_with('\\'), "{written} is seen");
        }
        for c in ['a', 'é', '\u{301}', 'ज', '\u{94d}', '中', '\u{3000}', '\u{a0}', '-', '€', '😀'] {
            assert!(!is_unseen(c), "{c:?}");
        }
        for c in [
            '\n', '\u{7f}', '\u{85}', '\u{ad}', '\u{61c}', '\u{200b}', '\u{202e}', '\u{2060}', '\u{2066}', '\u{2029}',
            '\u{feff}',
        ] {
            assert!(is_unseen(c), "{c:?}");
        }
    }
}
