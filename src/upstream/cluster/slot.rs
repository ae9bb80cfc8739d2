//! The hash slot of a key, by the
//! [Cluster specification](https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/).

use crc::{CRC_16_XMODEM, Crc};

/// How many slots there are.
pub(super) const SLOTS: u16 = 16_384;

const CRC: Crc<u16> = Crc::<u16>::new(&CRC_16_XMODEM);

/// The slot of a key. Keys with the same text between the first `{` and the next `}` have the same slot.
pub(in crate::upstream) fn slot_of(key: &[u8]) -> u16 {
    CRC.checksum(hash_tag(key).unwrap_or(key)) % SLOTS
}

fn hash_tag(key: &[u8]) -> Option<&[u8]> {
    let begin = memchr::memchr(b'{', key)? + 1;
    let length = memchr::memchr(b'}', &key[begin..])?;
    (length > 0).then(|| &key[begin..begin + length])
}

#[cfg(test)]
mod tests {
    use super::slot_of;

    #[test]
    fn slots_are_those_of_redis() {
        // As CLUSTER KEYSLOT says.
        for (key, slot) in [
            ("", 0),
            ("foo", 12182),
            ("{foo}bar", 12182),
            ("a{foo}{bar}", 12182),
            ("123456789", 12739),
        ] {
            assert_eq!(slot_of(key.as_bytes()), slot, "{key}");
        }
        // An empty tag is none, and one that does not end is none either.
        assert_ne!(slot_of(b"{}foo"), slot_of(b"{}bar"));
        assert_ne!(slot_of(b"{foo"), slot_of(b"{bar"));
    }
}
