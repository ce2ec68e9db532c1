#![allow(clippy::unwrap_used)]
use proptest::prelude::*;

use super::*;

/// Texts and what must become of them.
const POSITIVES: &[(&str, &str)] = &[
    ("write to jane.doe+shop@mail.example.co.uk today", "write to [email] today"),
    ("jane (at) example (dot) com", "[email]"),
    ("邮箱：zhang_san@163.com。", "邮箱：[email]。"),
    ("call 13812345678 after six", "call [phone] after six"),
    ("电话138-1234-5678，急", "电话[phone]，急"),
    ("手机号：１３８１２３４５６７８", "手机号：[phone]"),
    ("+86 138 1234 5678", "[phone]"),
    ("座机 010-62345678 转 3", "座机 [phone] 转 3"),
    ("(021) 62345678", "[phone]"),
    ("微信号: 123456789", "微信号: [phone]"),
    ("QQ：10012345", "QQ：[phone]"),
    ("My number is (415) 555-2671.", "My number is [phone]."),
    ("415.555.2671 or +44 20 7946 0958", "[phone] or [phone]"),
    ("Tel: 020 7946 0958", "Tel: [phone]"),
    ("030/901820-11 is wrong, 030 90182011 works", "030/901820-11 is wrong, [phone] works"),
    ("card 4111 1111 1111 1111 was charged", "card [card] was charged"),
    ("5500-0055-5555-5559", "[card]"),
    ("amex 378282246310005", "amex [card]"),
    ("银行卡6222021234567890128", "银行卡[card]"),
    ("refund to GB82 WEST 1234 5698 7654 32 please", "refund to [iban] please"),
    ("DE89370400440532013000", "[iban]"),
    ("my SSN is 123-45-6789", "my SSN is [id]"),
    ("social security number: 123456789", "social security number: [id]"),
    ("身份证11010519491231002X", "身份证[id]"),
    ("Deliver to 221B Baker Street, London", "Deliver to [address]"),
    ("it went to 1600 Pennsylvania Ave NW", "it went to [address] NW"),
    ("12 North Oak Dr, Apt 4B, Springfield, IL 62704", "[address]"),
    ("P.O. Box 123", "[address]"),
    ("moved to Portland, OR 97201", "moved to [address]"),
    ("postcode SW1A 1AA", "postcode [address]"),
    ("寄到北京市朝阳区建国路88号院3号楼1201室，谢谢", "[address]，谢谢"),
    ("中山路15号", "[address]"),
    ("阳光花园3栋2单元501室", "[address]"),
    ("收货地址：广东省深圳市南山区科技园，尽快", "收货地址：[address]，尽快"),
    ("Mr. Thompson was rude", "[name] was rude"),
    ("ask Dr. Maria Lopez-Garcia about it", "ask [name] about it"),
    ("my name is Priya Natarajan", "my name is [name]"),
    ("Recipient: Olu Adeyemi", "Recipient: [name]"),
    ("Best regards,\nHans Gruber", "Best regards,\n[name]"),
    ("John Smith signed for it", "[name] signed for it"),
    ("收件人：张伟 电话13812345678", "收件人：[name] 电话[phone]"),
    ("姓名 欧阳娜娜", "姓名 [name]"),
    ("我叫李小龙，", "我叫[name]，"),
    ("客服王女士很好", "客服[name]女士很好"),
    ("给陈晓明先生", "给[name]先生"),
];

/// Texts that must come back as they were.
const NEGATIVES: &[&str] = &[
    "great value at $1,299.00, was $1,499.99",
    "size 10.5 fits, 38-40 was too small",
    "1200x800 mm, 75 x 100 cm, 16:9, 4K 60Hz",
    "12 x 330 ml cans, 2-pack, 24 pieces",
    "order 4711 of 2026-11-28 came at 10:30",
    "Order #1234567890 arrived",
    "invoice AB-1234567-90",
    "article 4006381333931 and ISBN 978-3-16-148410-0",
    "model SM-G991B/DS, part 3M-8511-N95",
    "99.9% cotton, 5000 mAh, 3.5 mm jack",
    "six cans of Dr Pepper and Mr. Clean",
    "6 Cans Dr Pepper",
    "Jack Daniel's Old No. 7, Jim Beam White",
    "Tommy Hilfiger shirt, Calvin Klein jeans, Paul Smith socks",
    "Levi's 501 Original, Granny Smith apples",
    "the name: it is misleading",
    "the brand name is on the box",
    "Dear Customer Service, please help",
    "5 Star Quality, 2 Way Radio, 4 Way Stretch",
    "1 Place Setting, 3 Piece Set",
    "May is the best month to buy Rose wine",
    "价格199元，原价299.00元",
    "尺码38，身高165，体重50kg",
    "买了3件，2号下单，5号到货",
    "订单号20261128001234，已收到",
    "黑色女士手表很好看",
    "白色女士包包，方头女士皮鞋",
    "高跟鞋女士款",
    "黄金叶茶叶，白酒52度，马丁靴",
    "5号电池20节，3层保温饭盒",
    "姓名贴很好用",
    "联系方式不对",
    "地址写错了",
    "服务态度好，客服有耐心",
    "一路走好，十字路口那家店3号开业",
];

#[test]
fn what_is_personal_goes() {
    let mut wrong = String::new();
    for (text, wanted) in POSITIVES {
        let got = scrub(text).text;
        if got != *wanted {
            wrong += &format!("{text}\n  got    {got}\n  wanted {wanted}\n");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn what_is_not_stays() {
    let mut wrong = String::new();
    for text in NEGATIVES {
        let got = scrub(text);
        if got.text != *text || got.found != Found::default() {
            wrong += &format!("{text}\n  got {}\n", got.text);
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn what_was_found_is_counted() {
    let found = scrub("13812345678 or 13912345678, a@example.com").found;
    assert_eq!((found.count(What::Phone), found.count(What::Email), found.total()), (2, 1, 3));
    assert_eq!(found.to_string(), "[email] 1, [phone] 2");
    let mut sum = found.clone();
    sum.add(&found);
    assert_eq!(sum.total(), 6);
    assert!(!format!("{:?}", scrub("a@example.com")).contains("email"));
}

/// The Luhn digit that completes `digits`.
fn luhn(digits: &[u8]) -> u8 {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(n, d)| if n % 2 == 1 { u32::from(*d) } else { u32::from(d * 2 / 10 + d * 2 % 10) })
        .sum();
    ((10 - sum % 10) % 10) as u8
}

fn text_of(digits: &[u8], every: usize, between: &str) -> String {
    let groups: Vec<String> =
        digits.chunks(every).map(|part| part.iter().map(u8::to_string).collect()).collect();
    groups.join(between)
}

proptest! {
    /// Twice is once, and nothing panics, whatever the text.
    #[test]
    fn scrubbing_twice_is_scrubbing_once(text in "[a-zA-Z0-9 @.,:+()路号市王先生女士姓名电话-]{0,60}") {
        let once = scrub(&text).text;
        let again = scrub(&once);
        prop_assert_eq!(&again.text, &once);
        prop_assert_eq!(again.found.total(), 0);
    }

    #[test]
    fn any_text_is_survived(text in "\\PC{0,80}") {
        let _ = scrub(&text);
    }

    /// A card's number goes, in any grouping; with another last digit it is no card.
    #[test]
    fn cards_go_by_their_check_digit(first in 4u8..=5, rest in prop::collection::vec(0u8..10, 14), grouped: bool, off in 1u8..10) {
        let mut digits = vec![first];
        digits.extend(rest);
        let check = luhn(&digits);
        digits.push(check);
        let write = |digits: &[u8]| if grouped { text_of(digits, 4, " ") } else { text_of(digits, 16, "") };
        let found = scrub(&format!("paid with {} yesterday", write(&digits)));
        prop_assert_eq!(found.text, "paid with [card] yesterday");
        digits[15] = (check + off) % 10;
        let kept = scrub(&format!("paid with {} yesterday", write(&digits)));
        prop_assert_eq!(kept.found.count(What::Card), 0);
    }

    #[test]
    fn chinese_mobiles_go_wherever_they_stand(second in 3u8..=9, rest in prop::collection::vec(0u8..10, 9), dashed: bool) {
        let mut digits = vec![1, second];
        digits.extend(rest);
        let all = text_of(&digits, 11, "");
        let number = if dashed { format!("{}-{}-{}", &all[..3], &all[3..7], &all[7..]) } else { all };
        for text in [format!("请打{number}找我"), format!("call {number}, please"), number.clone()] {
            let scrubbed = scrub(&text);
            prop_assert!(!scrubbed.text.contains(&number), "{}", scrubbed.text);
            prop_assert_eq!(scrubbed.found.total(), 1);
        }
    }

    #[test]
    fn prices_sizes_and_counts_stay(price in 0u32..1_000_000, size in 1u32..500, count in 1u32..10_000) {
        let text = format!("{count} pieces of {size} cm at ${}.{:02}, 共{count}件{size}码{price}元", price / 100, price % 100);
        prop_assert_eq!(scrub(&text).text, text);
    }
}
