//! All persons in memory: their records out of the files, their live events, their consents, and
//! what was made of them.
//!
//! One thread changes persons (see [`keeper`](crate::keeper)); any number read them. What is made
//! of a person is made when somebody asks, kept, and dropped when the person changes.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use axum::body::Bytes;
use chorale_people::{
    features::{Features, PersonRecord},
    hand_over::{Disclosure, Received},
    live::{Aliases, Consents, LiveEvent, MergeEntry, Purpose, allows, combined, latest},
};
use chorale_plan::Pseudonym;

use crate::shelf::Shelf;

/// All persons of the store.
pub(crate) struct Crowd {
    shards: Vec<RwLock<Shard>>,
    merges: RwLock<Merges>,
    letters: RwLock<Vec<Disclosure>>,
    window_end_s: i64,
}

#[derive(Default)]
struct Merges {
    aliases: Aliases,
    log: Vec<MergeEntry>,
}

#[derive(Default)]
struct Shard {
    persons: HashMap<Pseudonym, Known>,
    views: HashMap<Pseudonym, Arc<View>>,
    /// Rises with every change, so that a view of before is not kept.
    stamp: u64,
}

/// What is known under one pseudonym.
#[derive(Clone, Default)]
struct Known {
    file: Option<Arc<PersonRecord>>,
    live: Vec<LiveEvent>,
    ids: HashSet<u64>,
    consents: Consents,
    received: Vec<Received>,
    erased: bool,
}

/// One person over all their channels.
pub(crate) struct View {
    /// Purchases and the like, by ascending time.
    pub(crate) record: PersonRecord,
    /// What the purchases say.
    pub(crate) features: Features,
    /// The same with what linked agents gave.
    pub(crate) taste: Features,
    /// Summaries that linked agents gave.
    pub(crate) received: Vec<Received>,
    /// Live events of every kind, by ascending time.
    pub(crate) live: Vec<LiveEvent>,
    /// The latest word on each purpose over all channels.
    pub(crate) consents: Consents,
    /// Pseudonyms of the person.
    pub(crate) members: Vec<Pseudonym>,
    shelf_epoch: u64,
    /// The profile as it is sent, and the world that it was made in.
    profile: Mutex<Option<(u64, Bytes)>>,
    /// Values of declared features and when they were made.
    values: Mutex<HashMap<String, (i64, Option<f64>)>>,
}

chorale_people::error::redacted!(View, Crowd);

const SHARDS: usize = 64;

impl Crowd {
    /// Nobody. Purchases at or after `window_end_s` are kept and not served from.
    pub(crate) fn new(window_end_s: i64) -> Self {
        let shards = (0..SHARDS).map(|_| RwLock::default()).collect();
        let (merges, letters) = (RwLock::default(), RwLock::default());
        Self { shards, merges, letters, window_end_s }
    }

    /// Replaces everybody by what the store holds.
    pub(crate) fn load(
        &self,
        records: BTreeMap<Pseudonym, PersonRecord>,
        live: chorale_people::store::Live,
    ) {
        let mut shards: Vec<HashMap<Pseudonym, Known>> = Vec::new();
        shards.resize_with(SHARDS, HashMap::new);
        let mut of = |who: Pseudonym, change: &mut dyn FnMut(&mut Known)| {
            change(shards[shard_of(who)].entry(who).or_default());
        };
        for (who, record) in records {
            let record = Arc::new(record);
            of(who, &mut |known| known.file = Some(Arc::clone(&record)));
        }
        for (who, events) in live.events {
            let ids: HashSet<u64> = events.iter().map(|event| event.id).collect();
            of(who, &mut |known| {
                known.ids.clone_from(&ids);
                known.live.clone_from(&events);
            });
        }
        for (who, consents) in live.consents {
            of(who, &mut |known| known.consents.clone_from(&consents));
        }
        for (who, received) in live.received {
            of(who, &mut |known| known.received.clone_from(&received));
        }
        for who in live.erased.into_keys() {
            of(who, &mut |known| *known = Known { erased: true, ..Known::default() });
        }
        let mut merges = self.merges.write().unwrap_or_else(PoisonError::into_inner);
        *merges = Merges { aliases: live.aliases, log: live.merge_log };
        let mut letters = self.letters.write().unwrap_or_else(PoisonError::into_inner);
        *letters = live.disclosures;
        drop(letters);
        for (shard, persons) in self.shards.iter().zip(shards) {
            let mut shard = shard.write().unwrap_or_else(PoisonError::into_inner);
            shard.persons = persons;
            shard.views.clear();
            shard.stamp += 1;
        }
    }

    /// The pseudonym that stands for `who`.
    pub(crate) fn primary(&self, who: Pseudonym) -> Pseudonym {
        self.merges.read().unwrap_or_else(PoisonError::into_inner).aliases.primary(who)
    }

    /// Every pseudonym of the person.
    pub(crate) fn members(&self, who: Pseudonym) -> Vec<Pseudonym> {
        let merges = self.merges.read().unwrap_or_else(PoisonError::into_inner);
        merges.aliases.members(merges.aliases.primary(who))
    }

    /// The log of merges that concern the person.
    pub(crate) fn merges_of(&self, members: &[Pseudonym]) -> Vec<MergeEntry> {
        let about = |bytes: &[u8; 32]| members.iter().any(|who| who.as_bytes() == bytes);
        let merges = self.merges.read().unwrap_or_else(PoisonError::into_inner);
        merges.log.iter().filter(|e| about(&e.alias) || about(&e.into)).copied().collect()
    }

    /// The person behind a pseudonym, or `None` for somebody who is unknown here.
    pub(crate) fn view(&self, who: Pseudonym, shelf: &Shelf) -> Option<Arc<View>> {
        let primary = self.primary(who);
        let stamp = {
            let shard = self.shard(primary).read().unwrap_or_else(PoisonError::into_inner);
            if let Some(view) = shard.views.get(&primary)
                && view.shelf_epoch == shelf.epoch
            {
                return Some(Arc::clone(view));
            }
            shard.stamp
        };
        let view = Arc::new(self.make(primary, shelf)?);
        let mut shard = self.shard(primary).write().unwrap_or_else(PoisonError::into_inner);
        if shard.stamp == stamp {
            shard.views.insert(primary, Arc::clone(&view));
        }
        Some(view)
    }

    /// Everybody's primary pseudonym after `after`, ascending; all in one go.
    pub(crate) fn everybody(&self, after: Option<Pseudonym>) -> Vec<Pseudonym> {
        let mut all = Vec::new();
        for shard in &self.shards {
            let shard = shard.read().unwrap_or_else(PoisonError::into_inner);
            let here = shard.persons.iter().filter(|(_, known)| known.is_there());
            all.extend(here.map(|(who, _)| self.primary(*who)));
        }
        all.retain(|who| after.is_none_or(|after| *who > after));
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Whether the person was erased.
    pub(crate) fn is_erased(&self, who: Pseudonym) -> bool {
        let shard = self.shard(who).read().unwrap_or_else(PoisonError::into_inner);
        shard.persons.get(&who).is_some_and(|known| known.erased)
    }

    /// A person's own word on the purposes: the latest over all channels.
    pub(crate) fn consents(&self, who: Pseudonym) -> Consents {
        let words: Vec<Consents> = self
            .members(who)
            .into_iter()
            .filter_map(|member| {
                let shard = self.shard(member).read().unwrap_or_else(PoisonError::into_inner);
                shard.persons.get(&member).map(|known| known.consents.clone())
            })
            .collect();
        latest(&words)
    }

    /// Those of the events that are new for this pseudonym.
    pub(crate) fn fresh(&self, who: Pseudonym, events: Vec<LiveEvent>) -> Vec<LiveEvent> {
        let shard = self.shard(who).read().unwrap_or_else(PoisonError::into_inner);
        let known = shard.persons.get(&who);
        let mut seen = HashSet::new();
        events
            .into_iter()
            .filter(|event| {
                known.is_none_or(|known| !known.ids.contains(&event.id)) && seen.insert(event.id)
            })
            .collect()
    }

    pub(crate) fn add_events(&self, who: Pseudonym, events: Vec<LiveEvent>) {
        self.change(who, |known| {
            if !known.erased {
                known.ids.extend(events.iter().map(|event| event.id));
                known.live.extend(events);
            }
        });
    }

    pub(crate) fn set_consents(&self, who: Pseudonym, consents: Consents) {
        self.change(who, |known| known.consents = consents);
    }

    /// The log of letters about the person.
    pub(crate) fn letters_of(&self, members: &[Pseudonym]) -> Vec<Disclosure> {
        let about = |line: &&Disclosure| members.iter().any(|who| *who.as_bytes() == line.person);
        let letters = self.letters.read().unwrap_or_else(PoisonError::into_inner);
        letters.iter().filter(about).cloned().collect()
    }

    /// When the newest summary of `agent` about this pseudonym was made, Unix seconds.
    pub(crate) fn received_s(&self, who: Pseudonym, agent: &str) -> Option<i64> {
        let shard = self.shard(who).read().unwrap_or_else(PoisonError::into_inner);
        let of = |received: &&Received| received.summary.from == agent;
        shard.persons.get(&who)?.received.iter().find(of).map(|received| received.summary.time_s)
    }

    pub(crate) fn add_letter(&self, line: Disclosure, received: Option<Received>) {
        if let Some(received) = received {
            self.change(Pseudonym::from_bytes(line.person), |known| {
                if !known.erased {
                    known.received.retain(|other| other.summary.from != received.summary.from);
                    known.received.push(received);
                }
            });
        }
        self.letters.write().unwrap_or_else(PoisonError::into_inner).push(line);
    }

    pub(crate) fn merge(&self, entry: MergeEntry) {
        let (alias, into) = (Pseudonym::from_bytes(entry.alias), Pseudonym::from_bytes(entry.into));
        {
            let mut merges = self.merges.write().unwrap_or_else(PoisonError::into_inner);
            if entry.undone {
                merges.aliases.part(alias);
            } else {
                merges.aliases.join(alias, into);
            }
            merges.log.push(entry);
        }
        for who in [alias, into, self.primary(into)] {
            self.change(who, |_| {});
        }
    }

    pub(crate) fn erase(&self, members: &[Pseudonym]) {
        {
            let mut merges = self.merges.write().unwrap_or_else(PoisonError::into_inner);
            merges.aliases.forget(members);
            let about = |bytes: &[u8; 32]| members.iter().any(|who| who.as_bytes() == bytes);
            merges.log.retain(|entry| !about(&entry.alias) && !about(&entry.into));
        }
        for who in members {
            self.change(*who, |known| *known = Known { erased: true, ..Known::default() });
        }
    }

    fn change(&self, who: Pseudonym, change: impl FnOnce(&mut Known)) {
        {
            let mut shard = self.shard(who).write().unwrap_or_else(PoisonError::into_inner);
            change(shard.persons.entry(who).or_default());
            shard.stamp += 1;
            shard.views.remove(&who);
        }
        let primary = self.primary(who);
        if primary != who {
            let mut shard = self.shard(primary).write().unwrap_or_else(PoisonError::into_inner);
            shard.stamp += 1;
            shard.views.remove(&primary);
        }
    }

    fn make(&self, primary: Pseudonym, shelf: &Shelf) -> Option<View> {
        let members = self.members(primary);
        let (mut files, mut live, mut words) = (Vec::new(), Vec::new(), Vec::new());
        let mut received = Vec::new();
        for member in &members {
            let shard = self.shard(*member).read().unwrap_or_else(PoisonError::into_inner);
            let Some(known) = shard.persons.get(member) else { continue };
            files.extend(known.file.clone());
            live.extend(known.live.iter().cloned());
            words.push(known.consents.clone());
            received.extend(known.received.iter().cloned());
        }
        if files.is_empty() && live.is_empty() {
            return None;
        }
        live.sort_by_key(|event| event.time_s);
        let files = files.iter().map(Arc::as_ref);
        let record = combined(files, &live, |item| shelf.index_of(item));
        let features = Features::of(&record, self.window_end_s);
        let consents = latest(&words);
        // Whoever no longer agrees to hand-overs is served from this channel alone.
        if !allows(Some(&consents), Purpose::HandOver, true) {
            received.clear();
        }
        let mut taste = features.clone();
        for one in &received {
            one.summary.add_to(&mut taste, |item| shelf.index_of(item));
        }
        Some(View {
            record,
            features,
            taste,
            received,
            live,
            consents,
            members,
            shelf_epoch: shelf.epoch,
            profile: Mutex::new(None),
            values: Mutex::default(),
        })
    }

    fn shard(&self, who: Pseudonym) -> &RwLock<Shard> {
        &self.shards[shard_of(who)]
    }
}

impl Known {
    fn is_there(&self) -> bool {
        self.file.is_some() || !self.live.is_empty()
    }
}

impl View {
    /// Whether the person's data may be used so.
    pub(crate) fn allows(&self, purpose: Purpose, ask_first: bool) -> bool {
        allows(Some(&self.consents), purpose, !ask_first)
    }

    /// A feature's value and when it was made (Unix seconds): the kept one, unless it is more than
    /// `age_max_s` older than `now_s`.
    pub(crate) fn value(
        &self,
        name: &str,
        now_s: i64,
        age_max_s: i64,
        make: impl FnOnce() -> Option<f64>,
    ) -> (i64, Option<f64>) {
        let mut kept = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        match kept.get(name) {
            Some((made_s, value)) if (0..=age_max_s).contains(&(now_s - made_s)) => {
                (*made_s, *value)
            }
            _ => {
                let made = (now_s, make());
                kept.insert(name.to_owned(), made);
                made
            }
        }
    }

    /// The profile as it is sent, made by `make` unless the one of this world is still there.
    pub(crate) fn profile(&self, world: u64, make: impl FnOnce() -> Bytes) -> Bytes {
        let mut kept = self.profile.lock().unwrap_or_else(PoisonError::into_inner);
        match &*kept {
            Some((of, bytes)) if *of == world => bytes.clone(),
            _ => {
                let bytes = make();
                *kept = Some((world, bytes.clone()));
                bytes
            }
        }
    }
}

/// Pseudonyms are outputs of HMAC: any byte spreads them evenly.
fn shard_of(who: Pseudonym) -> usize {
    usize::from(who.as_bytes()[31]) % SHARDS
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use chorale_people::store::Live;
    use chorale_task::Catalogue;

    use super::*;

    fn who(byte: u8) -> Pseudonym {
        Pseudonym::from_bytes([byte; 32])
    }

    fn bought(id: u64, item: &str) -> LiveEvent {
        LiveEvent {
            id,
            time_s: 1000 + id as i64,
            kind: "purchase".into(),
            item: Some(item.into()),
            quantity: 1.0,
            amount: 1.0,
            discount: 0.0,
            channel: 0,
            basket: None,
            session: None,
            request: None,
            text: None,
        }
    }

    fn shelf() -> Shelf {
        let text = "index,item_id,department,category\n0,APPLES,PRODUCE,FRUIT\n";
        Shelf::new(&Catalogue::read_csv(text.as_bytes()).unwrap())
    }

    #[test]
    fn a_change_is_seen_at_once_through_every_channel() {
        let (crowd, shelf) = (Crowd::new(i64::MAX), shelf());
        crowd.load(BTreeMap::new(), Live::default());
        assert!(crowd.view(who(1), &shelf).is_none());
        crowd.add_events(who(1), vec![bought(1, "APPLES")]);
        assert_eq!(crowd.view(who(1), &shelf).unwrap().features.baskets, 1);
        let merge = MergeEntry { time_s: 1, alias: [1; 32], into: [2; 32], undone: false };
        crowd.merge(merge);
        crowd.add_events(who(2), vec![bought(2, "APPLES")]);
        for member in [1, 2] {
            assert_eq!(crowd.view(who(member), &shelf).unwrap().live.len(), 2);
        }
        assert_eq!(crowd.everybody(None), [who(2)]);
        crowd.add_events(who(1), vec![bought(3, "APPLES")]);
        assert_eq!(crowd.view(who(2), &shelf).unwrap().live.len(), 3);
        crowd.merge(MergeEntry { undone: true, ..merge });
        assert_eq!(crowd.view(who(1), &shelf).unwrap().live.len(), 2);
        assert_eq!(crowd.view(who(2), &shelf).unwrap().live.len(), 1);
        assert_eq!(crowd.merges_of(&[who(1)]).len(), 2);
    }

    #[test]
    fn ids_count_once_and_the_erased_stay_away() {
        let (crowd, shelf) = (Crowd::new(i64::MAX), shelf());
        let events = vec![bought(1, "APPLES"), bought(1, "APPLES"), bought(2, "APPLES")];
        let fresh = crowd.fresh(who(1), events.clone());
        assert_eq!(fresh.len(), 2);
        crowd.add_events(who(1), fresh);
        assert!(crowd.fresh(who(1), events).is_empty());
        crowd.erase(&[who(1)]);
        assert!(crowd.is_erased(who(1)));
        crowd.add_events(who(1), vec![bought(9, "APPLES")]);
        assert!(crowd.view(who(1), &shelf).is_none());
    }

    #[test]
    fn an_item_that_comes_later_counts_for_events_of_before() {
        let (crowd, mut shelf) = (Crowd::new(i64::MAX), shelf());
        crowd.add_events(who(1), vec![bought(1, "OOLONG")]);
        assert_eq!(crowd.view(who(1), &shelf).unwrap().features.baskets, 0);
        let says = chorale_people::live::ItemRecord { item: "OOLONG".into(), ..Default::default() };
        shelf.put(says).unwrap();
        assert_eq!(crowd.view(who(1), &shelf).unwrap().features.baskets, 1);
    }
}
