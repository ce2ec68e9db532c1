//! Names of people, by a title, a word that announces them, or a common first name.

use std::sync::LazyLock;

use super::{Rule, What, stands_alone};

pub(super) fn rules() -> &'static [Rule] {
    static RULES: LazyLock<Vec<Rule>> = LazyLock::new(|| {
        let names = format!(r"(?:{WORD}|[A-Z]\.)(?: (?:{WORD}|[A-Z]\.)){{0,2}}");
        let titled = format!("{TITLES}{names}");
        let announced = format!("{ANNOUNCED}(?P<x>{names})");
        let first = format!(r"\b(?:{FIRST_NAMES})(?: [A-Z]\.)? (?:[Vv]an |[Dd]e |Mc|Mac)?{WORD}");
        let surname = format!("(?:{DOUBLE_SURNAMES}|[{SURNAMES}])");
        let titled_zh = format!(r"(?P<x>{surname}[\p{{Han}}]{{0,2}}?)(?:{TITLES_ZH})");
        let announced_zh = format!(r"{ANNOUNCED_ZH}(?P<x>{surname}[\p{{Han}}]{{1,2}})");
        vec![
            Rule::new(What::Name, &titled, |_, it, after| stands_alone("", after) && !is_brand(it)),
            Rule::new(What::Name, &announced, |_, it, after| {
                stands_alone("", after) && !is_greeting(it)
            }),
            Rule::new(What::Name, &first, |before, it, after| {
                stands_alone(before, after) && !is_brand(it) && !is_goods(it)
            }),
            Rule::new(What::Name, &titled_zh, is_titled_zh),
            Rule::new(What::Name, &announced_zh, |_, _, _| true),
        ]
    });
    &RULES
}

/// A capitalised word, also O'Brien and Lopez-Garcia.
const WORD: &str = r"[A-Z](?:[a-z]+|['’][A-Z][a-z]+)(?:[\-'’][A-Z]?[a-z]+)*";
const TITLES: &str = r"\b(?:Mr|Mrs|Ms|Miss|Mx|Dr|Prof|Professor|Madam|Sir)\.? ";
const ANNOUNCED: &str = r"(?i:\b(?:my name is|my name's|name|recipient|contact|attn|attention|signed by|delivered to|ship to|care of|c/o|regards|sincerely|cheers|yours))[:,.]?\s{1,3}";

/// Words that stand where a name could.
const GREETINGS: &[&str] = &[
    "Customer",
    "Sir",
    "Madam",
    "Team",
    "Support",
    "Service",
    "Sincerely",
    "Truly",
    "Faithfully",
    "Seller",
    "Everyone",
    "All",
    "Us",
    "The",
    "This",
    "It",
    "Is",
    "Was",
    "And",
    "For",
    "Brand",
    "Product",
    "Me",
    "You",
];

/// Products and shops that are called like people.
const BRANDS: &[&str] = &[
    "Dr Pepper",
    "Dr Martens",
    "Dr Oetker",
    "Dr Scholl",
    "Dr Bronner",
    "Dr Teal",
    "Dr Brown",
    "Mr Clean",
    "Mr Muscle",
    "Mr Kipling",
    "Mr Coffee",
    "Mrs Meyer",
    "Mrs Dash",
    "Mrs Butterworth",
    "Ms Pac",
    "Miss Dior",
    "Miss Sixty",
    "Dr Jart",
    "Jack Daniel",
    "Jack Wolfskin",
    "Jim Beam",
    "Tommy Hilfiger",
    "Tommy Bahama",
    "Calvin Klein",
    "Ralph Lauren",
    "Michael Kors",
    "Paul Smith",
    "Paul Mitchell",
    "Elizabeth Arden",
    "James Bond",
    "Sara Lee",
    "Marie Callender",
    "Peter Pan",
    "Harry Potter",
    "George Foreman",
    "David Yurman",
    "Kate Spade",
    "Tory Burch",
    "Laura Ashley",
    "Laura Mercier",
    "Johnny Walker",
    "John Deere",
    "John Frieda",
    "Thomas Sabo",
    "Charles Shaw",
    "Ben And",
    "Jimmy Choo",
    "Jimmy Dean",
    "Victoria Secret",
    "Betty Crocker",
    "Emily Crisps",
];

/// Words after a first name that make it a product.
const GOODS: &[&str] = &["Apple", "Apples", "Beans", "Sauce", "Cream", "Bread", "Tea", "Coffee"];

const FIRST_NAMES: &str = "James|John|Robert|Michael|William|David|Richard|Joseph|Thomas|Charles|Christopher|Daniel|Matthew|Anthony|Steven|Paul|Andrew|Joshua|Kenneth|Kevin|Brian|George|Timothy|Edward|Jason|Jeffrey|Ryan|Jacob|Gary|Nicholas|Eric|Jonathan|Stephen|Larry|Scott|Benjamin|Samuel|Gregory|Patrick|Alexander|Jack|Dennis|Peter|Nathan|Douglas|Henry|Adam|Harry|Oliver|Simon|Martin|Mary|Patricia|Jennifer|Linda|Elizabeth|Barbara|Susan|Jessica|Sarah|Karen|Lisa|Nancy|Sandra|Ashley|Emily|Kimberly|Margaret|Donna|Michelle|Carol|Amanda|Melissa|Deborah|Stephanie|Rebecca|Sharon|Laura|Cynthia|Kathleen|Angela|Shirley|Brenda|Emma|Anna|Pamela|Nicole|Samantha|Katherine|Christine|Helen|Rachel|Carolyn|Janet|Maria|Catherine|Heather|Diane|Julie|Victoria|Kelly|Christina|Joan|Evelyn|Lauren|Judith|Olivia|Martha|Cheryl|Megan|Andrea|Hannah|Jacqueline|Ann|Alice|Julia|Sophie|Charlotte|Kate|Jane|Tom|Mike|Dave|Steve|Chris|Matt|Jim|Joe|Bob|Ben|Sam|Nick|Tony|Tommy|Jimmy|Betty|Sara|Johnny";

/// The hundred commonest surnames and a few more.
const SURNAMES: &str = "王李张刘陈杨黄赵吴周徐孙马朱胡郭何高林罗郑梁谢宋唐许韩冯邓曹彭曾肖田董袁潘于蒋蔡余杜叶程苏魏吕丁任沈姚卢姜崔钟谭陆汪范金石廖贾夏韦付方白邹孟熊秦邱江尹薛闫段雷侯龙史陶黎贺顾毛郝龚邵万钱严覃武戴莫孔向汤";
const DOUBLE_SURNAMES: &str =
    "欧阳|司马|上官|诸葛|东方|皇甫|尉迟|公孙|令狐|慕容|司徒|夏侯|端木|南宫|独孤";
const TITLES_ZH: &str =
    "先生|女士|小姐|太太|夫人|老师|师傅|阿姨|叔叔|大爷|大妈|经理|同学|医生|教授|律师";
const ANNOUNCED_ZH: &str =
    "(?:(?:收件人|收货人|寄件人|签收人|联系人|姓名|名字|署名)[:：是为 ]{1,3}|(?:我叫|名叫)[:： ]?)";

/// Characters of colours, shapes and sorts: what ends with them before a title is no name.
const NOT_IN_NAMES: &[char] = &[
    '色', '款', '跟', '头', '牌', '级', '档', '丁', '质', '皮', '用', '的', '是', '年', '方', '型',
    '式', '龄', '便', '品', '士',
];

/// After 女士 and 小姐: it is said of goods.
const GOODS_ZH: &[char] = &[
    '手', '包', '鞋', '衣', '裤', '裙', '帽', '袜', '表', '款', '香', '用', '专', '内', '卫', '外',
    '羽', '牛', '运', '护', '剃', '睡', '毛', '围', '太', '钱', '双', '单', '短', '长', 'T',
];

/// A title or a name and the word after it, without dots.
fn first_two(text: &str) -> String {
    let words = text.split(' ').take(2).map(|word| word.trim_end_matches(['.', '\'', '’']));
    let words: Vec<&str> =
        words.map(|word| word.split(['\'', '’']).next().unwrap_or(word)).collect();
    words.join(" ")
}

fn is_brand(it: &str) -> bool {
    let name = first_two(it);
    BRANDS.iter().any(|brand| *brand == name || name.strip_suffix('s') == Some(brand))
}

/// A first name before goods is a brand, as in `Anna Tea`.
fn is_goods(it: &str) -> bool {
    it.rsplit(' ').next().is_some_and(|last| GOODS.contains(&last))
}

fn is_greeting(it: &str) -> bool {
    let first = it.split(' ').next().unwrap_or_default();
    GREETINGS.contains(&first) || is_brand(it)
}

fn is_titled_zh(before: &str, it: &str, after: &str) -> bool {
    // The title itself is the first thing after.
    let is_of_goods = ["女士", "小姐"]
        .iter()
        .any(|title| after.strip_prefix(title).is_some_and(|rest| rest.starts_with(GOODS_ZH)));
    !is_of_goods && !it.ends_with(NOT_IN_NAMES) && !before.ends_with(['尊', '各'])
}
