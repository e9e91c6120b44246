//! What is measured, by name.

use crate::edits::Target;
use crate::hub::Users;
use crate::load::{Pace, Shape};
use crate::server::Kind;

use super::cold::Past;

/// One line of work with a name for the command line.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) name: &'static str,
    pub(crate) title: String,
    pub(crate) work: Work,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Work {
    FanOut {
        shape: Shape,
        pace: Pace,
    },
    /// At 30 % of saturation, beside what the disk needs for a sync.
    Latency {
        shape: Shape,
    },
    Idle {
        sockets: usize,
        rooms: usize,
        pings: bool,
    },
    Cold {
        past: Past,
    },
    Http {
        connections: usize,
    },
}

/// How large everything is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    Whole,
    /// For trying a program out.
    Tenth,
}

impl Size {
    fn of(self, count: usize) -> usize {
        match self {
            Self::Whole => count,
            Self::Tenth => count / 10,
        }
    }
}

/// Every plan, in the order of the evidence.
pub(crate) fn all(size: Size) -> Vec<Plan> {
    let mut plans = Vec::new();
    for (name, full, writers, readers, rate) in [
        ("1x50", "1x50-full", 1, 50, 100.0),
        ("10x10", "10x10-full", 10, 10, 200.0),
        ("50x50", "50x50-full", 50, 50, 200.0),
    ] {
        let shape = Shape {
            rooms: 1,
            writers,
            readers,
        };
        plans.push(fan_out(name, shape, Pace::Rate(rate)));
        plans.push(fan_out(full, shape, Pace::Saturated));
    }
    for (name, rooms) in [("500-rooms", 500), ("5000-rooms", 5_000)] {
        let shape = Shape {
            rooms: size.of(rooms),
            writers: 1,
            readers: 1,
        };
        plans.push(fan_out(name, shape, Pace::Rate(1_000.0)));
    }
    for (name, writers, readers) in [("latency-1x50", 1, 50), ("latency-10x10", 10, 10)] {
        let shape = Shape {
            rooms: 1,
            writers,
            readers,
        };
        plans.push(Plan {
            name,
            title: format!("{}; at 30 % of saturation (hub)", describe(shape)),
            work: Work::Latency { shape },
        });
    }
    for (name, pings) in [("idle", false), ("idle-pings", true)] {
        let (sockets, rooms) = (size.of(10_000), size.of(2_000));
        let what = if pings {
            "one ping a minute each"
        } else {
            "no pings"
        };
        plans.push(Plan {
            name,
            title: format!("{sockets} idle sockets over {rooms} rooms; {what}"),
            work: Work::Idle {
                sockets,
                rooms,
                pings,
            },
        });
    }
    plans.extend(cold(size));
    let connections = 16;
    plans.push(Plan {
        name: "http",
        title: format!("sync over HTTP (hub): {connections} connections, a room each"),
        work: Work::Http { connections },
    });
    plans
}

fn fan_out(name: &'static str, shape: Shape, pace: Pace) -> Plan {
    let pace_text = match pace {
        Pace::Rate(rate) => format!("{rate} updates/s in all"),
        Pace::Saturated => "as fast as it goes".to_owned(),
    };
    Plan {
        name,
        title: format!("{}; {pace_text}", describe(shape)),
        work: Work::FanOut { shape, pace },
    }
}

fn describe(shape: Shape) -> String {
    let Shape {
        rooms,
        writers,
        readers,
    } = shape;
    format!("rooms: {rooms}, writers in each: {writers}, readers in each: {readers}")
}

fn cold(size: Size) -> [Plan; 2] {
    let plan = |name, title: String, edits, target| {
        let past = Past { edits, target };
        let work = Work::Cold { past };
        Plan { name, title, work }
    };
    let number = |count: usize| u32::try_from(size.of(count)).unwrap_or(u32::MAX);
    let (edits, entries, overwrites) = (number(100_000), number(5_000), number(20_000));
    [
        plan(
            "cold-edits",
            format!("cold opening after {edits} edits"),
            edits,
            Target::Array,
        ),
        plan(
            "cold-overwrites",
            format!("cold opening of {entries} entries after {overwrites} overwrites"),
            entries + overwrites,
            Target::Map(entries),
        ),
    ]
}

impl Plan {
    /// Users of the hub that this takes.
    pub(crate) fn users(&self) -> anyhow::Result<usize> {
        match self.work {
            Work::FanOut { shape, .. } | Work::Latency { shape } => {
                Users::needed(shape.rooms, shape.sockets())
            }
            Work::Idle { sockets, rooms, .. } => Users::needed(rooms, sockets),
            Work::Cold { .. } | Work::Http { .. } => Ok(1),
        }
    }

    /// Whether this says anything about such a server.
    pub(crate) fn suits(&self, kind: Kind) -> bool {
        match self.work {
            Work::FanOut { .. } | Work::Idle { .. } => true,
            // A room that was never stored cannot be opened.
            Work::Cold { .. } => kind != Kind::YWebsocket,
            // The peers do not wait for the disk, and have no sync over HTTP.
            Work::Latency { .. } | Work::Http { .. } => kind == Kind::Hub,
        }
    }

    /// Measurements that make one history and look at it several times are not repeated as a whole.
    pub(crate) fn is_repeated(&self) -> bool {
        !matches!(self.work, Work::Cold { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_users_suffice() {
        let plans = all(Size::Whole);
        for plan in &plans {
            let same = plans.iter().filter(|other| other.name == plan.name);
            assert_eq!(same.count(), 1, "{}", plan.name);
            assert!(plan.users().is_ok(), "{}", plan.name);
            assert!(plan.suits(Kind::Hub), "{}", plan.name);
        }
    }
}
