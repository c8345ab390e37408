//===-- Size.swift - sizes as people type them ----------------------------------------------------===//
// 4096, 4K, 4KiB, 1M, 1.5GiB: units are binary whichever way they are spelt, as in btrfs-progs.

import ArgumentParser

/// Bytes, of `text`.
///
/// Throws where it is no size, or one past 16 EiB.
func parseSize(_ text: String) throws -> UInt64 {
    let complaint = ValidationError("'\(text)' is not a size; write 4096, 4K, 1M or 1GiB")
    let digits = text.prefix { $0.isASCII && $0.isNumber || $0 == "." }
    let units: [String: UInt64] = [
        "": 0, "b": 0, "k": 10, "kb": 10, "kib": 10, "m": 20, "mb": 20, "mib": 20, "g": 30,
        "gb": 30, "gib": 30, "t": 40, "tb": 40, "tib": 40, "p": 50, "pb": 50, "pib": 50,
    ]
    let word = text.dropFirst(digits.count).lowercased().filter { $0 != " " }
    guard !digits.isEmpty, let shift = units[word] else { throw complaint }
    if digits.contains(".") {
        guard shift > 0, let number = Double(digits) else { throw complaint }
        let bytes = number * Double(UInt64(1) << shift)
        guard bytes.isFinite, bytes < 0x1p63 else { throw complaint }
        return UInt64(bytes.rounded())
    }
    guard let number = UInt64(digits), number <= UInt64.max >> shift else { throw complaint }
    return number << shift
}

/// A size, or the least and the most of a range of them.
struct SizeRange: Equatable {
    var least: UInt64
    var most: UInt64

    /// Reads "4K-1M", or "64K" for always the same.
    static func parse(_ text: String) throws -> SizeRange {
        let parts = text.split(separator: "-", omittingEmptySubsequences: false)
        guard parts.count <= 2, let first = parts.first, let last = parts.last else {
            throw ValidationError("'\(text)' is not a range of sizes; write 4K-1M")
        }
        let range = SizeRange(
            least: try parseSize(String(first)),
            most: try parseSize(String(last))
        )
        guard range.least > 0 else { throw ValidationError("sizes begin above 0") }
        guard range.least <= range.most else {
            throw ValidationError("'\(text)' ends below where it begins")
        }
        return range
    }

    var text: String {
        least == most ? sizeText(least) : "\(sizeText(least)) to \(sizeText(most))"
    }
}
