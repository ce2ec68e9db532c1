//! What is recognised by its form: e-mail addresses, account, card and id numbers, telephones.

use std::sync::LazyLock;

use super::{Rule, What, stands_alone};

/// The rules, in the order in which they are tried: those with check digits first.
pub(super) fn rules() -> &'static [Rule] {
    static RULES: LazyLock<Vec<Rule>> = LazyLock::new(|| {
        vec![
            Rule::new(What::Email, EMAIL, |_, _, _| true),
            Rule::new(What::Iban, IBAN, |before, it, after| {
                stands_alone(before, after) && is_iban(it)
            }),
            Rule::new(What::NationalId, r"[1-9]\d{16}[\dXx]", |before, it, after| {
                stands_alone(before, after) && is_resident_id(it)
            }),
            Rule::new(What::NationalId, r"\d{3}[- ]\d{2}[- ]\d{4}", |before, it, after| {
                apart(before, after) && is_social_security(it)
            }),
            Rule::new(What::NationalId, SSN_NAMED, |_, _, after| stands_alone("", after)),
            Rule::new(What::Card, CARD_LONG, |b, it, a| apart(b, a) && is_card(it)),
            Rule::new(What::Card, CARD, |before, it, after| apart(before, after) && is_card(it)),
            Rule::new(What::Phone, PHONE_ABROAD, |_, _, after| stands_alone("", after)),
            Rule::new(What::Phone, PHONE_CHINA, |before, _, after| apart(before, after)),
            Rule::new(What::Phone, PHONE_US, |before, _, after| apart(before, after)),
            Rule::new(What::Phone, PHONE_TRUNK, |before, _, after| apart(before, after)),
            Rule::new(What::Phone, PHONE_NAMED, |_, _, after| stands_alone("", after)),
        ]
    });
    &RULES
}

const EMAIL: &str = r"[A-Za-z0-9._%+\-]{1,64}(?:@| ?[\[(]at[\])] ?)(?:[A-Za-z0-9\-]{1,63}(?:\.| ?[\[(]dot[\])] ?)){1,5}[A-Za-z]{2,24}";
const IBAN: &str = r"[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?";
const SSN_NAMED: &str = r"(?i)(?:\bssn|social security(?: number| no\.?)?)[:#\s]{0,3}(?P<x>\d{9})";
/// Nineteen digits in groups, before the sixteen that they begin with.
const CARD_LONG: &str = r"\d{4}(?:[ \-]\d{4}){3}[ \-]\d{3}";
const CARD: &str = r"\d{14,19}|\d{4}(?:[ \-]\d{4}){3}|\d{4}[ \-]\d{6}[ \-]\d{4,5}";
const PHONE_ABROAD: &str = r"(?:\+|\b00)[1-9]\d{0,2}(?:[ \-.()]{0,2}\d){6,13}";
const PHONE_CHINA: &str = r"(?:86[ \-]?)?1[3-9]\d[ \-]?\d{4}[ \-]?\d{4}|(?:\(0\d{2,3}\) ?|0\d{2,3}[ \-])[2-9]\d{6,7}(?:-\d{1,5})?|[48]00[ \-]?\d{3}[ \-]?\d{4}|[48]00[ \-]\d{4}[ \-]\d{3}";
const PHONE_US: &str = r"(?:1[ \-.])?(?:\([2-9]\d{2}\) ?|[2-9]\d{2}[ \-.])[2-9]\d{2}[ \-.]\d{4}";
const PHONE_TRUNK: &str = r"\(?0\d{2,4}\)?[ /\-]\d{3,4}[ \-]?\d{3,4}";
const PHONE_NAMED: &str = r"(?i)(?:\b(?:tel|phone|telephone|mobile|cell|fax|whatsapp|call me(?: at| on)?|text me(?: at| on)?|reach me(?: at| on)|qq)|电话号?码?|手机号?码?|联系方式|微信号?|加微|QQ号?)(?: number| no)?[ .:：#是为]{0,4}(?P<x>\+?\(?\d(?:[ \-.()]{0,2}\d){4,14})";

/// Neither part of a longer number nor of a code such as `AB-1234` or `1.5`.
fn apart(before: &str, after: &str) -> bool {
    let mut back = before.chars().rev();
    let (last, second) = (back.next(), back.next());
    let digit = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    let mut on = after.chars();
    let (first, next) = (on.next(), on.next());
    let joint = |c: Option<char>| matches!(c, Some('-' | '.' | '/' | '_'));
    let within = digit(last) || digit(first);
    let joined = joint(last) && digit(second) || joint(first) && digit(next);
    let code = matches!(last, Some('#' | '$' | '€' | '£' | '¥' | '￥'));
    !(within || joined || code)
}

fn digits(text: &str) -> Vec<u32> {
    text.chars().filter_map(|c| c.to_digit(10)).collect()
}

/// Mod 97 over the letters and digits, the first four moved to the end (ISO 7064).
fn is_iban(text: &str) -> bool {
    let plain: Vec<char> = text.chars().filter(|c| !c.is_whitespace()).collect();
    if !(15..=34).contains(&plain.len()) {
        return false;
    }
    let moved = plain[4..].iter().chain(&plain[..4]);
    let rest = moved.filter_map(|c| c.to_digit(36)).fold(0u32, |rest, value| {
        let scale = if value > 9 { 100 } else { 10 };
        (rest * scale + value) % 97
    });
    rest == 1
}

/// A possible date of birth, and the check digit (GB 11643: ISO 7064 MOD 11-2).
fn is_resident_id(text: &str) -> bool {
    let number = |from: usize, to: usize| text[from..to].parse::<u32>().unwrap_or(0);
    let (year, month, day) = (number(6, 10), number(10, 12), number(12, 14));
    if !(1900..2100).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return false;
    }
    let sum =
        text[..17].chars().filter_map(|c| c.to_digit(10)).fold(0, |sum, d| (sum + d) * 2 % 11);
    let check = (12 - sum) % 11;
    match text.chars().last() {
        Some('X' | 'x') => check == 10,
        Some(c) => c.to_digit(10) == Some(check),
        None => false,
    }
}

/// Areas 000, 666 and from 900, group 00 and serial 0000 were never given out.
fn is_social_security(text: &str) -> bool {
    let (area, group, serial) = (&text[..3], &text[4..6], &text[7..]);
    !matches!(area, "000" | "666") && !area.starts_with('9') && group != "00" && serial != "0000"
}

/// A card's first digits and length, and the check digit (Luhn).
fn is_card(text: &str) -> bool {
    let digits = digits(text);
    let starts = |with: &[u32]| digits.starts_with(with);
    let issued = match digits.len() {
        14 => starts(&[3, 0]) || starts(&[3, 6]) || starts(&[3, 8]),
        15 => starts(&[3, 4]) || starts(&[3, 7]),
        16 => matches!(digits[0], 2..=6),
        17..=19 => matches!(digits[0], 4..=6),
        _ => false,
    };
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, digit)| match place % 2 {
            0 => *digit,
            _ => digit * 2 / 10 + digit * 2 % 10,
        })
        .sum();
    issued && sum.is_multiple_of(10)
}
