use proptest::prelude::*;

use super::*;

#[test]
fn every_message_of_a_viewer_survives_a_round_trip() {
    for message in viewer_messages() {
        assert_eq!(FromViewer::decode(&message.encode()), Ok(message));
    }
}

#[test]
fn every_message_of_a_host_survives_a_round_trip() {
    for message in host_messages() {
        assert_eq!(FromHost::decode(&message.encode()), Ok(message));
    }
}

// The browser viewer writes these bytes by hand; they must not change under it.
#[test]
fn the_wire_form_is_the_one_the_browser_viewer_speaks() {
    let golden: &[(FromViewer, &[u8])] = &[
        (
            FromViewer::Key {
                down: true,
                keysym: 0xff0d,
                code: 28,
            },
            &[0x01, 1, 0, 0, 0xff, 0x0d, 0, 28],
        ),
        (
            FromViewer::Button {
                down: false,
                button: 3,
                x: 258,
                y: 5,
            },
            &[0x02, 0, 3, 1, 2, 0, 5],
        ),
        (
            FromViewer::Wheel {
                dx: 0,
                dy: -120,
                x: 1,
                y: 2,
            },
            &[0x03, 0, 0, 0xff, 0x88, 0, 1, 0, 2],
        ),
        (FromViewer::Text("é".into()), &[0x04, 0xc3, 0xa9]),
        (FromViewer::ReleaseAll, &[0x05]),
        (
            FromViewer::PointerMove {
                seq: 7,
                x: 1919,
                y: 1079,
            },
            &[0x10, 0, 0, 0, 7, 0x07, 0x7f, 0x04, 0x37],
        ),
        (
            FromViewer::PointerRelative {
                seq: 8,
                total_dx: -1,
                total_dy: 2,
            },
            &[0x11, 0, 0, 0, 8, 255, 255, 255, 255, 0, 0, 0, 2],
        ),
        (
            FromViewer::Resize {
                width: 1280,
                height: 720,
                scale_percent: 100,
            },
            &[0x20, 5, 0, 2, 0xd0, 0, 100],
        ),
        (FromViewer::ClipboardText("hi".into()), &[0x21, b'h', b'i']),
        (
            FromViewer::Ping { sent_us: 1 },
            &[0x22, 0, 0, 0, 0, 0, 0, 0, 1],
        ),
        (FromViewer::Quality(Quality::DataSaver), &[0x25, 3]),
    ];
    for (message, bytes) in golden {
        assert_eq!(message.encode(), *bytes, "{message:?}");
    }
}

#[test]
fn the_wire_form_of_an_image_is_the_one_the_browser_viewer_speaks() {
    let (left, part) = (256, vec![0x89, 0x50]);
    let bytes = FromViewer::ClipboardImage { left, part }.encode();
    assert_eq!(bytes, [0x24, 0, 0, 1, 0, 0x89, 0x50]);
}

#[test]
fn the_wire_form_of_a_quality_is_the_one_the_browser_viewer_speaks() {
    let all = [
        Quality::Auto,
        Quality::Sharp,
        Quality::Balanced,
        Quality::DataSaver,
    ];
    for (number, quality) in (0..).zip(all) {
        assert_eq!(FromHost::Quality(quality).encode(), [0x25, number]);
    }
    let beyond = FromViewer::decode(&[0x25, 4]);
    assert_eq!(beyond, Err(ControlError::Range));
}

#[test]
fn a_message_one_byte_longer_than_its_fields_is_refused() {
    let mut bytes = FromViewer::ReleaseAll.encode();
    bytes.push(0);
    assert_eq!(
        FromViewer::decode(&bytes),
        Err(ControlError::Length { have: 1, need: 0 })
    );
}

#[test]
fn a_message_above_the_bound_is_refused_by_its_size_alone() {
    let bytes = vec![0x21; MESSAGE_LEN_MAX + 1];
    assert_eq!(
        FromViewer::decode(&bytes),
        Err(ControlError::TooLarge {
            len: MESSAGE_LEN_MAX + 1,
            max: MESSAGE_LEN_MAX
        })
    );
}

#[test]
fn a_screen_no_server_could_have_is_out_of_range() {
    for (width, height) in [(0, 100), (100, 0), (u16::MAX, 100), (100, u16::MAX)] {
        let bytes = FromViewer::Resize {
            width,
            height,
            scale_percent: 100,
        }
        .encode();
        assert_eq!(FromViewer::decode(&bytes), Err(ControlError::Range));
    }
}

#[test]
fn every_prefix_of_a_message_is_an_error_or_a_shorter_text_and_never_a_panic() {
    for message in viewer_messages() {
        let whole = message.encode();
        for end in 0..whole.len() {
            if let Ok(shorter) = FromViewer::decode(&whole[..end]) {
                assert!(matches!(
                    shorter,
                    FromViewer::Text(_)
                        | FromViewer::ClipboardText(_)
                        | FromViewer::ClipboardImage { .. }
                ));
            }
        }
    }
}

proptest! {
    #[test]
    fn what_decodes_encodes_to_the_same_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        if let Ok(message) = FromViewer::decode(&bytes) {
            prop_assert_eq!(message.encode(), bytes.clone());
        }
        if let Ok(message) = FromHost::decode(&bytes) {
            prop_assert_eq!(message.encode(), bytes);
        }
    }
}

fn viewer_messages() -> Vec<FromViewer> {
    vec![
        FromViewer::Key {
            down: true,
            keysym: 0x0100_20ac,
            code: 18,
        },
        FromViewer::Button {
            down: true,
            button: 9,
            x: 0xFFFF,
            y: 0xFFFF,
        },
        FromViewer::Wheel {
            dx: i16::MIN,
            dy: i16::MAX,
            x: 0,
            y: 1,
        },
        FromViewer::Text("漢字".into()),
        FromViewer::ReleaseAll,
        FromViewer::PointerMove {
            seq: u32::MAX,
            x: 1,
            y: 2,
        },
        FromViewer::PointerRelative {
            seq: 0,
            total_dx: i32::MIN,
            total_dy: i32::MAX,
        },
        FromViewer::Resize {
            width: 64,
            height: 8192,
            scale_percent: 200,
        },
        FromViewer::ClipboardText(String::new()),
        FromViewer::ClipboardImage {
            left: 9,
            part: vec![1, 2, 3],
        },
        FromViewer::Quality(Quality::Balanced),
        FromViewer::Ping { sent_us: u64::MAX },
    ]
}

fn host_messages() -> Vec<FromHost> {
    vec![
        FromHost::ClipboardText("text".into()),
        FromHost::ClipboardImage {
            left: 0,
            part: vec![9],
        },
        FromHost::Pong {
            sent_us: 1,
            host_us: 2,
        },
        FromHost::Quality(Quality::Sharp),
        FromHost::Cursor {
            width: 2,
            height: 1,
            hot_x: 1,
            hot_y: 0,
            rgba: vec![9; 8],
        },
        FromHost::CursorHidden,
        FromHost::Screen {
            width: 1920,
            height: 1080,
        },
        FromHost::HostStats(HostStats {
            capture_us: 1,
            encode_us: 2,
            queue_us: 3,
            frames: 4,
            encoder: 1,
            chroma: Chroma::Yuv444,
        }),
        FromHost::Notice("{}".into()),
        FromHost::Closed("{}".into()),
    ]
}
