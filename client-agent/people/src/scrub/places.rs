//! Postal addresses, by a number beside a word for a street or a building.

use std::sync::LazyLock;

use super::{Rule, What, stands_alone};

pub(super) fn rules() -> &'static [Rule] {
    static RULES: LazyLock<Vec<Rule>> = LazyLock::new(|| {
        let street = format!(
            r"\b\d{{1,5}}[A-Za-z]?(?: (?:North|South|East|West|[NSEW]\.?))?(?: [A-Z][A-Za-z'’\-]*){{1,4}} (?:{CLEAR}|{UNCLEAR})\b\.?{FLAT}{TOWN}"
        );
        let zh = format!(
            r"{DISTRICTS}[\p{{Han}}]{{1,8}}?(?:路|街|大道|巷|胡同|弄)[\p{{Han}}]{{0,2}}?{NUMBER}{INSIDE}"
        );
        let estate = format!(
            r"{DISTRICTS}[\p{{Han}}]{{1,8}}?(?:小区|花园|公寓|大厦|家园|新村|广场|社区|宿舍|苑|村){HOUSE}{INSIDE}"
        );
        vec![
            Rule::new(What::Address, &street, is_street),
            Rule::new(What::Address, r"(?i)\bp\.? ?o\.? ?box #?\d{1,6}", |_, _, after| {
                stands_alone("", after)
            }),
            Rule::new(What::Address, ZIP, |_, _, after| stands_alone("", after)),
            Rule::new(What::Address, POSTCODE, stands_apart),
            Rule::new(What::Address, NAMED_ZH, |_, it, _| !it.starts_with('[')),
            Rule::new(What::Address, &zh, |_, _, _| true),
            Rule::new(What::Address, &estate, |_, _, _| true),
        ]
    });
    &RULES
}

/// Words for a street that mean little else after a number and a capitalised word.
const CLEAR: &str = "Street|Avenue|Ave|Road|Rd|Boulevard|Blvd|Lane|Ln|Drive|Terrace|Parkway|Pkwy|Highway|Hwy|Crescent|Alley|Quay";
/// Those that also begin or end the name of a product.
const UNCLEAR: &str = "St|Dr|Court|Ct|Place|Pl|Square|Sq|Way|Close|Row|Mews|Walk|Trail";
const FLAT: &str =
    r"(?:,? (?:Apt|Apartment|Suite|Ste|Unit|Flat|Floor|Room)\.? ?#?\w{1,6}|,? #\d{1,5}[A-Z]?)?";
const TOWN: &str =
    r"(?:, [A-Z][A-Za-z'’\-]+(?: [A-Z][A-Za-z'’\-]+){0,2})?(?:,? [A-Z]{2} \d{5}(?:-\d{4})?)?";
const ZIP: &str = r"\b(?:[A-Z][a-z]+(?: [A-Z][a-z]+)?, )?(?:A[KLRZ]|C[AOT]|D[CE]|FL|GA|HI|I[ADLN]|K[SY]|LA|M[ADEINOST]|N[CDEHJMVY]|O[HKR]|PA|RI|S[CD]|T[NX]|UT|V[AT]|W[AIVY]) \d{5}(?:-\d{4})?";
const POSTCODE: &str = r"[A-Z]{1,2}\d[A-Z\d]? \d[ABD-HJLNP-UW-Z]{2}";
const DISTRICTS: &str = r"(?:[\p{Han}]{2,7}?(?:省|自治区|市|区|县|州))*";
const NUMBER: &str =
    r"(?:\d{1,5}|[一二三四五六七八九十百]{1,4})(?:号楼|号院|号|弄|栋|幢|座|单元|室|层|楼)";
/// The number of a house on an estate.
const HOUSE: &str = r"\d{1,5}(?:号楼|号院|号|栋|幢|座|单元|室)";
const INSIDE: &str = r"(?:[,， ]?[\p{Han}A-Za-z]{0,8}?\d{1,5}(?:号楼|号|栋|幢|座|单元|室|层|楼))*";
const NAMED_ZH: &str = r"(?:收货地址|收件地址|寄件地址|家庭住址|住址|地址)[:：是为 ]{1,3}(?P<x>[^\s,，。;；!！?？]{4,40})";

/// A street whose word may mean something else ends there, or goes on in small letters.
fn is_street(before: &str, it: &str, after: &str) -> bool {
    if !stands_alone(before, "") || before.ends_with(['$', '€', '£', '.']) {
        return false;
    }
    let unclear = |word: &str| UNCLEAR.split('|').any(|other| other == word);
    let last = it.trim_end_matches('.').rsplit(' ').next().unwrap_or_default();
    let goes_on = after.trim_start_matches(' ');
    !unclear(last) || !goes_on.starts_with(|c: char| c.is_ascii_uppercase())
}

fn stands_apart(before: &str, _: &str, after: &str) -> bool {
    stands_alone(before, after) && !before.ends_with('-')
}
