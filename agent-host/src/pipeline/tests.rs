use super::*;
use crate::rate::{QP_FINE, QP_SHARP};
use protocol::control::Chroma;

const BOX: Rect = Rect::new(10, 10, 20, 20);

/// A pipeline with one viewer whose first key frame was sent at `now`.
fn watched(now: Instant) -> Pipeline {
    let mut pipeline = Pipeline::new(50_000_000, now - Duration::from_secs(1));
    pipeline.handle_watchers(Watchers(1), now);
    assert!(matches!(
        pipeline.poll_step(now),
        Some(Step::Frame {
            kind: FrameKind::Key,
            ..
        })
    ));
    coded(
        &mut pipeline,
        Pass::Interactive,
        FrameKind::Key,
        QP_SHARP,
        now,
    );
    pipeline
}

fn coded(pipeline: &mut Pipeline, pass: Pass, kind: FrameKind, qp: Qp, now: Instant) {
    let plan = Plan {
        pass,
        kind,
        blocks: 4,
        qp,
        finer_than: None,
    };
    pipeline.handle_coded(plan, 200, now);
}

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn is_delta(step: Option<Step>) -> bool {
    matches!(
        step,
        Some(Step::Frame {
            kind: FrameKind::Delta,
            ..
        })
    )
}

#[test]
fn an_isolated_change_is_coded_at_once_with_the_time_it_was_seen() {
    let t0 = Instant::now();
    let mut pipeline = watched(t0);
    let t1 = t0 + ms(500);
    pipeline.handle_damage(BOX, t1);
    let step = pipeline.poll_step(t1);
    assert_eq!(
        step,
        Some(Step::Frame {
            boxes: vec![BOX],
            kind: FrameKind::Delta,
            seen_at: t1
        })
    );
}

#[test]
fn without_a_viewer_nothing_is_done_and_nothing_is_due() {
    let t0 = Instant::now();
    let mut pipeline = Pipeline::new(50_000_000, t0);
    pipeline.handle_damage(BOX, t0);
    pipeline.handle_key_wanted(t0);
    assert_eq!(pipeline.poll_step(t0 + ms(5000)), None);
    assert_eq!(pipeline.poll_timeout(t0), None);
}

#[test]
fn a_still_screen_is_refined_then_silent_but_for_the_keep_alive() {
    let t0 = Instant::now();
    let mut pipeline = watched(t0);
    assert_eq!(pipeline.poll_timeout(t0), Some(t0 + REFINE_AFTER));
    let t1 = t0 + REFINE_AFTER;
    assert_eq!(pipeline.poll_step(t1), Some(Step::Refine));
    coded(&mut pipeline, Pass::Refine, FrameKind::Delta, QP_FINE, t1);
    let t2 = t1 + REFINE_INTERVAL;
    assert_eq!(pipeline.poll_step(t2), Some(Step::Refine));
    coded(&mut pipeline, Pass::Refine, FrameKind::Delta, QP_FINE, t2);
    let t3 = t2 + REFINE_INTERVAL;
    assert!(t3 - t0 <= ms(300));
    assert_eq!(pipeline.poll_step(t3), Some(Step::Refine));
    pipeline.handle_unchanged(Pass::Refine, t3);
    let mut at = t2 + FIRST_KEEP_ALIVE_AFTER;
    for _ in 0..3 {
        assert_eq!(pipeline.poll_timeout(t3), Some(at));
        assert_eq!(pipeline.poll_step(at), Some(Step::KeepAlive));
        kept_alive(&mut pipeline, at);
        at += KEEP_ALIVE_INTERVAL;
    }
}

/// Of a key frame whose packets all were lost nothing is known until something follows it.
#[test]
fn a_lone_frame_is_followed_by_another_within_a_fifth_of_a_second() {
    let t0 = Instant::now();
    let mut pipeline = watched(t0);
    pipeline.handle_unchanged(Pass::Refine, t0 + REFINE_AFTER);
    let t1 = t0 + FIRST_KEEP_ALIVE_AFTER;
    assert_eq!(pipeline.poll_timeout(t0 + REFINE_AFTER), Some(t1));
    assert_eq!(pipeline.poll_step(t1), Some(Step::KeepAlive));
}

fn kept_alive(pipeline: &mut Pipeline, now: Instant) {
    let plan = Plan {
        pass: Pass::Interactive,
        kind: FrameKind::Delta,
        blocks: 0,
        qp: QP_SHARP,
        finer_than: None,
    };
    pipeline.handle_coded(plan, 20, now);
}

/// Frames of a second of full motion; where frames are saved, the pointer moves all the time.
fn frames_of_full_motion(quality: Quality) -> u32 {
    let t0 = Instant::now();
    let mut pipeline = watched(t0);
    pipeline.handle_quality(quality, t0);
    let start = t0 + ms(1000);
    let mut frames = 0;
    for i in 0..1000 {
        let now = start + ms(i);
        pipeline.handle_damage(BOX, now);
        if quality != Quality::Auto && quality != Quality::Sharp {
            pipeline.handle_input(now);
        }
        if is_delta(pipeline.poll_step(now)) {
            frames += 1;
            coded(
                &mut pipeline,
                Pass::Interactive,
                FrameKind::Delta,
                QP_SHARP,
                now,
            );
        }
    }
    frames
}

#[test]
fn full_motion_comes_at_the_frame_rate_of_the_quality() {
    let check = |quality, expected: std::ops::RangeInclusive<u32>| {
        let frames = frames_of_full_motion(quality);
        assert!(expected.contains(&frames), "{quality:?}: {frames}");
    };
    check(Quality::Auto, 58..=64);
    check(Quality::Sharp, 58..=64);
    check(Quality::Balanced, 29..=34);
    check(Quality::DataSaver, 14..=19);
}

#[test]
fn data_saver_caps_what_a_fast_network_gets_and_auto_gives_it_back() {
    let t0 = Instant::now();
    let mut pipeline = watched(t0);
    pipeline.handle_quality(Quality::DataSaver, t0);
    let cap = Bounds::of(Quality::DataSaver).bitrate_bps_max;
    assert_eq!(pipeline.rate().bitrate_bps(), cap);
    pipeline.handle_estimate(20_000_000, t0);
    assert_eq!(pipeline.rate().bitrate_bps(), cap);
    // A network that carries less than the cap still decides.
    pipeline.handle_estimate(500_000, t0);
    assert_eq!(pipeline.rate().bitrate_bps(), 500_000);
    pipeline.handle_estimate(20_000_000, t0);
    pipeline.handle_quality(Quality::Auto, t0);
    assert_eq!(pipeline.rate().bitrate_bps(), 20_000_000);
}

#[test]
fn sharp_waits_for_the_network_where_auto_would_be_coarse() {
    let t0 = Instant::now();
    let mut pipeline = watched(t0);
    pipeline.handle_estimate(1_000_000, t0);
    let coarse = pipeline.qp_for(FrameKind::Delta, 8160);
    pipeline.handle_quality(Quality::Sharp, t0);
    let sharp = pipeline.qp_for(FrameKind::Delta, 8160);
    assert!(sharp < coarse, "{sharp:?} {coarse:?}");
    assert_eq!(sharp, Bounds::of(Quality::Sharp).worst);
}

#[test]
fn a_still_screen_is_looked_at_again_when_the_quality_changes() {
    let t0 = Instant::now();
    let mut pipeline = watched(t0);
    pipeline.handle_unchanged(Pass::Refine, t0);
    pipeline.handle_quality(Quality::Sharp, t0);
    assert_eq!(pipeline.poll_timeout(t0), Some(t0 + REFINE_AFTER));
    assert_eq!(pipeline.poll_step(t0 + REFINE_AFTER), Some(Step::Refine));
    let mut picture = Picture::new(64, 48, Chroma::Yuv420);
    let refined = pipeline.plan_refined(&mut picture);
    assert_eq!(refined.qp, Bounds::of(Quality::Sharp).fine);
}

#[test]
fn a_frame_after_input_does_not_wait_for_its_slot() {
    let t0 = Instant::now();
    let mut pipeline = watched(t0);
    let mut now = t0 + ms(1000);
    for _ in 0..20 {
        now += ms(1);
        pipeline.handle_damage(BOX, now);
        if pipeline.poll_step(now).is_some() {
            coded(
                &mut pipeline,
                Pass::Interactive,
                FrameKind::Delta,
                QP_SHARP,
                now,
            );
        }
    }
    pipeline.handle_damage(BOX, now);
    assert!(!is_delta(pipeline.poll_step(now)));
    pipeline.handle_input(now);
    assert!(is_delta(pipeline.poll_step(now)));
}

#[test]
fn requests_for_key_frames_are_coalesced_but_never_lost() {
    let t0 = Instant::now();
    let mut pipeline = watched(t0);
    for i in 0..10 {
        pipeline.handle_key_wanted(t0 + ms(i));
    }
    assert_eq!(pipeline.poll_step(t0 + ms(20)), None);
    let due = t0 + KEY_SPACING;
    assert!(matches!(
        pipeline.poll_step(due),
        Some(Step::Frame {
            kind: FrameKind::Key,
            ..
        })
    ));
    coded(
        &mut pipeline,
        Pass::Interactive,
        FrameKind::Key,
        QP_SHARP,
        due,
    );
    assert!(!matches!(
        pipeline.poll_step(due + ms(1)),
        Some(Step::Frame { .. })
    ));
}

#[test]
fn a_second_viewer_gets_its_key_frame_without_waiting() {
    let t0 = Instant::now();
    let mut pipeline = watched(t0);
    pipeline.handle_watchers(Watchers(2), t0 + ms(1));
    assert!(matches!(
        pipeline.poll_step(t0 + ms(1)),
        Some(Step::Frame {
            kind: FrameKind::Key,
            ..
        })
    ));
}

#[test]
fn on_a_full_wire_frames_wait_and_their_damage_adds_up() {
    let t0 = Instant::now();
    let mut pipeline = watched(t0);
    let t1 = t0 + ms(1000);
    pipeline.handle_estimate(8_000_000, t1);
    pipeline.handle_damage(BOX, t1);
    assert!(is_delta(pipeline.poll_step(t1)));
    let plan = Plan {
        pass: Pass::Interactive,
        kind: FrameKind::Delta,
        blocks: 4,
        qp: QP_SHARP,
        finer_than: None,
    };
    pipeline.handle_coded(plan, 150_000, t1);
    let far = Rect::new(900, 900, 20, 20);
    pipeline.handle_damage(BOX, t1 + ms(1));
    pipeline.handle_damage(far, t1 + ms(2));
    assert_eq!(pipeline.poll_step(t1 + ms(50)), None);
    let Some(Step::Frame { boxes, seen_at, .. }) = pipeline.poll_step(t1 + ms(101)) else {
        panic!("the wire is free");
    };
    assert_eq!(boxes, [BOX, far]);
    assert_eq!(seen_at, t1 + ms(1));
}

#[test]
fn the_screen_is_still_a_while_after_it_moved_unless_a_change_waits_or_nobody_watches() {
    let t0 = Instant::now();
    let mut pipeline = watched(t0);
    assert_eq!(pipeline.still_at(), Some(t0 + REFINE_AFTER));
    // Making it better is no motion.
    coded(
        &mut pipeline,
        Pass::Refine,
        FrameKind::Delta,
        QP_FINE,
        t0 + ms(120),
    );
    assert_eq!(pipeline.still_at(), Some(t0 + REFINE_AFTER));
    pipeline.handle_damage(BOX, t0 + ms(500));
    assert_eq!(pipeline.still_at(), None);
    pipeline.poll_step(t0 + ms(500));
    let kind = FrameKind::Delta;
    coded(
        &mut pipeline,
        Pass::Interactive,
        kind,
        QP_FINE,
        t0 + ms(501),
    );
    assert_eq!(pipeline.still_at(), Some(t0 + ms(501) + REFINE_AFTER));
    pipeline.handle_watchers(Watchers(0), t0 + ms(502));
    assert_eq!(pipeline.still_at(), None);
}

/// A screen of 1,200 macroblocks, coded with `qp`, of which one changed since.
fn typed_into(qp: Qp) -> Picture {
    let mut picture = Picture::new(640, 480, Chroma::Yuv420);
    let white = vec![255; 640 * 480 * 4];
    picture
        .handle_pixels(Rect::new(0, 0, 640, 480), &white)
        .unwrap();
    picture.plan();
    picture.handle_coded(FrameKind::Key, qp);
    picture
        .handle_pixels(Rect::new(16, 16, 16, 16), &[0; 16 * 16 * 4])
        .unwrap();
    picture
}

#[test]
fn a_letter_on_a_coarse_screen_is_as_coarse_where_the_rest_would_cost_too_much() {
    let t0 = Instant::now();
    let mut pipeline = watched(t0);
    let plan = |pipeline: &Pipeline, qp| {
        let plan = pipeline.plan(FrameKind::Delta, &mut typed_into(qp));
        (plan.qp, plan.blocks)
    };
    pipeline.handle_estimate(1_000_000, t0);
    assert_eq!(plan(&pipeline, Qp(30)), (Qp(30), 1));
    // What is there is as good already.
    assert_eq!(plan(&pipeline, QP_FINE), (QP_FINE, 1));
    pipeline.handle_estimate(1_000_000_000, t0);
    assert_eq!(plan(&pipeline, Qp(30)), (QP_FINE, 1_200));
}

#[test]
fn the_sign_that_nothing_changed_is_no_finer_than_the_frame_before() {
    let mut picture = typed_into(Qp(44));
    picture.plan();
    picture.handle_coded(FrameKind::Delta, Qp(44));
    let plan = watched(Instant::now()).plan_keep_alive(&mut picture);
    assert_eq!((plan.qp, plan.blocks), (Qp(44), 0));
}

#[test]
fn the_encoder_settles_before_refinement_of_a_part_and_not_before_that_of_all() {
    let t0 = Instant::now();
    let mut pipeline = watched(t0);
    let mut picture = typed_into(Qp(30));
    pipeline.handle_estimate(1_000_000_000, t0);
    assert_eq!(pipeline.settles_at(&picture), None);
    pipeline.handle_estimate(1_000_000, t0);
    assert_eq!(pipeline.settles_at(&picture), Some(QP_FINE));
    picture.handle_settled(QP_FINE);
    assert_eq!(pipeline.settles_at(&picture), None);
    let plan = pipeline.plan_refined(&mut picture);
    assert!((1..100).contains(&plan.blocks), "{plan:?}");
}
