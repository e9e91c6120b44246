//! What a play is like: everything about it follows from its seed, unless a part is taken away by hand.

use epicenter_native::config::LimitsConfig;
use epicenter_native::rooms::EngineConfig;
use epicenter_native::rooms::compaction::CompactionConfig;
use epicenter_room::RoomConfig;
use epicenter_update::Collect;

use crate::dice::Dice;

/// The conditions of one play.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Decides everything that the other fields leave open.
    pub seed: u64,
    /// How many rooms there are.
    pub rooms: usize,
    /// How many devices, all rooms together.
    pub clients: usize,
    /// How long the faults go on, in simulated milliseconds; then everything heals.
    pub storm_ms: u64,
    /// The whole process ends at any moment.
    pub crashes: bool,
    /// Commits fail, stall, and find the disk full; reads fail.
    pub disk_faults: bool,
    /// The disk says that it has written what a crash then loses. What others saw may be lost then, nothing else.
    pub disk_lies: bool,
    /// Connections break, one side noticing late or never; clients stop reading.
    pub network_faults: bool,
    /// Grants end.
    pub revocations: bool,
    /// Rooms are deleted, restored and created anew.
    pub deletions: bool,
    /// HTTP callers.
    pub calls: bool,
    /// Another process takes over and gives back.
    pub suspensions: bool,
    /// Time jumps ahead.
    pub jumps: bool,
    /// Clients hand updates to each other past the hub, so that it meets gaps.
    pub gaps: bool,
    /// Clients say what no client should.
    pub nonsense: bool,
    /// Rooms and owners use up what they may store; when everything heals they may store more.
    pub quotas: bool,
}

impl Plan {
    /// The play of a seed.
    pub fn of(seed: u64) -> Self {
        let mut dice = Dice::named(seed, "plan", 0);
        let mut mostly = |of: u64| !dice.one_in(of);
        let [crashes, disk_faults, network_faults] = [mostly(3), mostly(3), mostly(4)];
        let [revocations, calls, gaps] = [mostly(2), mostly(6), mostly(3)];
        let [deletions, suspensions, jumps, nonsense] =
            [!mostly(4), !mostly(3), !mostly(4), mostly(2)];
        let disk_lies = !mostly(20);
        Self {
            seed,
            rooms: dice.between(1, 4) as usize,
            clients: dice.between(2, 10) as usize,
            storm_ms: dice.between(2_000, 25_000),
            crashes,
            disk_faults,
            disk_lies,
            network_faults,
            revocations,
            deletions,
            calls,
            suspensions,
            jumps,
            gaps,
            nonsense,
            quotas: Dice::named(seed, "quotas", 0).one_in(5),
        }
    }

    /// The same play with one thing taken away or made smaller, for each thing there is.
    pub fn smaller(&self) -> Vec<Self> {
        let with = |change: &dyn Fn(&mut Self)| {
            let mut plan = self.clone();
            change(&mut plan);
            plan
        };
        let mut plans = vec![
            with(&|plan| plan.rooms = 1),
            with(&|plan| plan.clients = (plan.clients / 2).max(1)),
            with(&|plan| plan.clients = (plan.clients - 1).max(1)),
            with(&|plan| plan.storm_ms /= 2),
            with(&|plan| plan.storm_ms -= plan.storm_ms / 8),
            with(&|plan| plan.crashes = false),
            with(&|plan| plan.disk_faults = false),
            with(&|plan| plan.disk_lies = false),
            with(&|plan| plan.network_faults = false),
            with(&|plan| plan.revocations = false),
            with(&|plan| plan.deletions = false),
            with(&|plan| plan.calls = false),
            with(&|plan| plan.suspensions = false),
            with(&|plan| plan.jumps = false),
            with(&|plan| plan.gaps = false),
            with(&|plan| plan.nonsense = false),
            with(&|plan| plan.quotas = false),
        ];
        plans.retain(|plan| plan != self);
        plans
    }

    fn dice(&self, purpose: &str) -> Dice {
        Dice::named(self.seed, purpose, 1)
    }

    /// Times and limits small enough to be met.
    pub(super) fn room(&self) -> RoomConfig {
        let dice = &mut self.dice("room config");
        RoomConfig {
            max_pending_bytes: one_of(dice, &[200, 2_000, 1 << 20]),
            max_calls: one_of(dice, &[2, 256]),
            max_device_connections: one_of(dice, &[2, 64]),
            max_in_flight_bytes: one_of(dice, &[300, 2_000, 64 << 10]),
            lifetime_ms: one_of(dice, &[25_000, 30 * 60_000]),
            silent_grace_ms: 5_000,
            dispatch_timeout_ms: one_of(dice, &[1_000, 6_000]),
            gap_request_ms: one_of(dice, &[500, 3_000]),
            shared: dice.one_in(3),
            ..RoomConfig::default()
        }
    }

    pub(super) fn engine(&self) -> EngineConfig {
        let dice = &mut self.dice("engine config");
        EngineConfig {
            compaction: CompactionConfig {
                collect: if dice.one_in(4) {
                    Collect::Nothing
                } else {
                    Collect::Deleted
                },
                load_entries: one_of(dice, &[1, 8, 256]),
                busy_entries: one_of(dice, &[2, 16, 4_096]),
                busy_bytes: one_of(dice, &[200, 1 << 20]),
                after_close_ms: one_of(dice, &[0, 300, 3_000]),
                close_entries: one_of(dice, &[1, 8]),
                retry_ms: one_of(dice, &[0, 500]),
            },
            max_cache_bytes: one_of(dice, &[0, 3_000, 1 << 20]),
            idle_ms: one_of(dice, &[0, 30, 400, 10_000]),
        }
    }

    pub(super) fn limits(&self) -> LimitsConfig {
        let dice = &mut self.dice("limits");
        let quotas = &mut self.dice("quotas");
        let unlimited = LimitsConfig::default();
        let [max_room_bytes, max_owner_bytes, max_owner_rooms] = if self.quotas {
            [
                one_of(quotas, &[0, 300, 1_500]),
                one_of(quotas, &[0, 600, 3_000]),
                one_of(quotas, &[0, 1]),
            ]
        } else {
            [
                unlimited.max_room_bytes,
                unlimited.max_owner_bytes,
                unlimited.max_owner_rooms,
            ]
        };
        LimitsConfig {
            max_room_bytes,
            max_owner_bytes,
            max_owner_rooms,
            max_outbound_bytes: one_of(dice, &[2_500, 8_000, 1 << 20]),
            max_inbox_commands: one_of(dice, &[2, 8, 256]),
            max_inbox_bytes: one_of(dice, &[300, 4_000, 1 << 20]),
            max_log_queue_bytes: one_of(dice, &[400, 4_000, 1 << 20]),
            ..unlimited
        }
    }

    /// What the kernel takes for a client that does not read.
    pub(super) fn window(&self) -> usize {
        one_of(&mut self.dice("window"), &[1_000, 4_000, 64 << 10])
    }
}

fn one_of<T: Copy + Default>(dice: &mut Dice, choices: &[T]) -> T {
    dice.pick(choices).copied().unwrap_or_default()
}
