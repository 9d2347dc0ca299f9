//! Whatever happens in whatever order: what holds at all times.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Move {
    Found(u8, u8),
    Unfit,
    Gone,
    End(bool),
    Crowded,
    Room,
    Trouble(u8, u8),
    Order(u8, u8),
    Restart,
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        3 => (0_u8..4, 0_u8..2).prop_map(|(module, config)| Move::Found(module, config)),
        1 => Just(Move::Unfit),
        1 => Just(Move::Gone),
        6 => prop::bool::weighted(0.7).prop_map(Move::End),
        1 => Just(Move::Crowded),
        1 => Just(Move::Room),
        2 => (0_u8..4, 0_u8..4).prop_map(|(module, kind)| Move::Trouble(module, kind)),
        1 => (0_u8..4, 0_u8..4).prop_map(|(order, module)| Move::Order(order, module)),
        1 => Just(Move::Restart),
    ];
    prop::collection::vec(one, 1..60)
}

proptest! {
    /// Whatever happens in whatever order: one thing is done at a time; only a switch that ended well changes what
    /// serves, and only draining takes it away; and once nothing more happens, it comes to rest.
    #[test]
    fn one_thing_at_a_time_and_only_a_good_switch_changes_what_serves(
        moves in moves(), stored in any::<bool>(), pace in prop_oneof![Just(20_u64), Just(100)],
    ) {
        let rules = Rules { stored, ..Rules::default() };
        let mut life = Life::new("p", rules);
        let mut doing: Option<Act<Loaded>> = None;
        let mut serves: Option<Loaded> = None;
        let mut now = 0;
        let finish = vec![Move::End(true); 9];
        for one in moves.into_iter().chain(finish) {
            now += pace;
            let input = match one {
                Move::Found(module, number) => Input::Found(wanted_with(module, &config(number))),
                Move::Unfit => Input::Unfit(refusal(Step::Read)),
                Move::Restart => {
                    life = match life.kept() {
                        Some(kept) => Life::restored("p", rules, kept),
                        None => Life::new("p", rules),
                    };
                    (doing, serves) = (None, None);
                    Input::Found(wanted_with(0, &config(0)))
                }
                Move::Gone => Input::Gone,
                Move::Trouble(module, kind) => {
                    let kind = [TroubleKind::Trapped, TroubleKind::Tripped, TroubleKind::Quarantined, TroubleKind::CacheFull { bytes: 2, most_mib: 0 }][usize::from(kind)];
                    Input::Trouble(loaded(module).mark(), kind)
                }
                Move::Crowded => match &doing {
                    Some(Act::Load(_) | Act::Revive(_)) => { doing = None; Input::Crowded(refusal(Step::Compile)) }
                    _ => continue,
                },
                Move::Room => {
                    prop_assert!(done(life.step(at(now), Input::Room)).is_empty() || !life.waits_for_room());
                    Input::Passed
                }
                Move::End(well) => match doing.take() {
                    None => continue,
                    Some(Act::Load(wanted) | Act::Revive(wanted)) => Input::Loaded(match well {
                        true => {
                            let module = (0..4).find(|module| hash(*module) == wanted.module).unwrap();
                            Ok(Loaded { module, config: wanted.config })
                        }
                        false => Err(refusal(Step::Describe)),
                    }),
                    Some(Act::Serve(plugin)) => Input::Served(match well {
                        true => { serves = Some(plugin); Ok(()) }
                        false => Err(NotServed { why: "why".into(), mend: "mend".into() }),
                    }),
                    Some(Act::Withdraw) => { serves = None; Input::Withdrawn }
                    Some(other) => panic!("{other:?} is nothing that lasts"),
                },
                Move::Order(order, module) => {
                    let order = [Order::Enable, Order::Disable, Order::Rollback, Order::Promote(hash(module))][usize::from(order)];
                    for act in done(life.order(at(now), order).unwrap_or_default()).into_iter().filter(|act| *act != Act::Release) {
                        prop_assert!(doing.replace(act).is_none(), "one thing at a time");
                    }
                    prop_assert_eq!(life.serving.as_ref().map(|version| &version.plugin), serves.as_ref());
                    continue;
                }
            };
            for act in done(life.step(at(now), input)) {
                if act == Act::Cancel {
                    prop_assert!(matches!(doing, Some(Act::Serve(_))), "only a switch is cut");
                } else {
                    prop_assert!(doing.replace(act).is_none(), "one thing at a time");
                }
            }
            prop_assert_eq!(life.serving.as_ref().map(|version| &version.plugin), serves.as_ref());
            prop_assert!(life.previous.len() <= 2 + usize::from(life.resumes) && life.rejected.len() <= 16);
            // Nothing of what is gone is in memory, and what is kept of it for a moment has an end.
            if life.is_over() {
                prop_assert!(life.previous.iter().all(|past| past.plugin.is_none()));
                prop_assert_eq!(life.due().is_some(), !life.previous.is_empty());
            }
        }
        prop_assert!(doing.is_none(), "it comes to rest: {:?}", doing);
    }
}
