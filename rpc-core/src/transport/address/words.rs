//! A command as one line of text: `program 'an argument' another`. No shell reads it, and none of a
//! shell's meanings but quoting is in it.
//!
//! ```text
//!   line  = [spaces] word (spaces word)* [spaces]
//!   word  = part+                  parts without a space between them are one word
//!   part  = '...'                  everything up to the next ' is itself
//!         | "..."                  everything up to the next " is itself, but \" is " and \\ is \
//!         | \c                     the character c, whatever it is
//!         | c                      any character but a space, ', " and \
//! ```
//!
//! `''` and `""` are an empty word. `$`, `*`, `~`, `|`, `;`, `&`, `<`, `>` and `#` stand for
//! themselves.

use std::iter::Peekable;
use std::str::Chars;

/// The words of a line, or what is wrong with it.
pub(in crate::transport) fn split(line: &str) -> Result<Vec<String>, &'static str> {
    let mut words = Vec::new();
    let mut rest = line.chars().peekable();
    loop {
        while rest.next_if_eq(&' ').is_some() {}
        if rest.peek().is_none() {
            return Ok(words);
        }
        words.push(word(&mut rest)?);
    }
}

fn word(rest: &mut Peekable<Chars<'_>>) -> Result<String, &'static str> {
    let mut word = String::new();
    while let Some(c) = rest.next_if(|c| *c != ' ') {
        match c {
            '\'' => loop {
                match rest.next().ok_or("a `'` is not closed")? {
                    '\'' => break,
                    c => word.push(c),
                }
            },
            '"' => loop {
                match rest.next().ok_or("a `\"` is not closed")? {
                    '"' => break,
                    '\\' => {
                        let escaped = rest.next_if(|c| matches!(c, '"' | '\\'));
                        word.push(escaped.unwrap_or('\\'));
                    }
                    c => word.push(c),
                }
            },
            '\\' => word.push(rest.next().ok_or("nothing follows the last `\\`")?),
            c => word.push(c),
        }
    }
    Ok(word)
}

/// The word in quotes, if it needs them: what [`split`] reads as this word alone.
pub(in crate::transport) fn quote(word: &str) -> String {
    let plain = |c: char| !matches!(c, ' ' | '\'' | '"' | '\\');
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_parted_by_spaces_alone() {
        let cases: &[(&str, &[&str])] = &[
            ("", &[]),
            ("  ", &[]),
            ("a", &["a"]),
            ("  a   b ", &["a", "b"]),
            (
                "/opt/calc --quiet -n 3",
                &["/opt/calc", "--quiet", "-n", "3"],
            ),
            ("'two words' x", &["two words", "x"]),
            (r#""two words" x"#, &["two words", "x"]),
            (r"two\ words x", &["two words", "x"]),
            (r#"a'b c'"d e"\ f"#, &["ab cd e f"]),
            (r#"'' "" x"#, &["", "", "x"]),
            (r#"'"' "'" \' \" \\"#, &["\"", "'", "'", "\"", "\\"]),
            (r"'\' '\\'", &["\\", "\\\\"]),
            (r#""\" \\ \n \$""#, &[r#"" \ \n \$"#]),
            ("naïve 日本 'ü ü'", &["naïve", "日本", "ü ü"]),
        ];
        for (line, words) in cases {
            assert_eq!(split(line).unwrap(), *words, "{line}");
        }
    }

    #[test]
    fn what_a_shell_would_run_is_a_word_like_any_other() {
        let line = "echo $HOME ~ * a;b a|b && >f <f #no `id` $(id) ${x} !x {a,b} [a] %1 a=b";
        let words: Vec<_> = line.split(' ').collect();
        assert_eq!(split(line).unwrap(), words);
    }

    #[test]
    fn what_is_not_closed_is_refused() {
        for (line, wrong) in [
            ("a 'b", "a `'` is not closed"),
            ("a 'b\\' c'", "a `'` is not closed"),
            ("a \"b", "a `\"` is not closed"),
            ("a \"b\\\"", "a `\"` is not closed"),
            ("a \\", "nothing follows the last `\\`"),
        ] {
            assert_eq!(split(line), Err(wrong), "{line}");
        }
    }

    #[test]
    fn quoted_words_come_back() {
        let seed = std::env::var("SEED").map_or_else(|_| fastrand::u64(..), |s| s.parse().unwrap());
        println!("SEED={seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        for _ in 0..2000 {
            let words: Vec<String> = (0..random.usize(..5))
                .map(|_| {
                    let length = random.usize(..6);
                    let letters = ['a', ' ', '\'', '"', '\\', '$', 'ü', '\n'];
                    (0..length)
                        .map(|_| random.choice(letters).unwrap())
                        .collect()
                })
                .collect();
            let quoted: Vec<_> = words.iter().map(|word| quote(word)).collect();
            assert_eq!(split(&quoted.join(" ")), Ok(words));
        }
    }
}
