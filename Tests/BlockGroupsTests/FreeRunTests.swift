// The parts of a free-space walk that need no image: runs of bits, and merging with holes. Each is
// held against a plain array of sectors. Replay: BG_SEED=… as printed.

import BGDevices
import BGDiskFormat
import BGTestSupport
import Testing

@testable import BlockGroups

@Suite struct FreeRunTests {
    @Test func theFirstBitIsFoundWhereverItLies() {
        var random = SeededGenerator.printed("bits")
        for _ in 0..<500 {
            let byteCount = Int.random(in: 1...40, using: &random)
            let fill = [UInt8(0), 0xff, UInt8.random(in: .min ... .max, using: &random)]
            let bytes = (0..<byteCount).map { _ in fill.randomElement(using: &random)! }
            let bits = (0..<byteCount * 8).map { bytes[$0 / 8] >> UInt8($0 % 8) & 1 != 0 }
            let limit = Int.random(in: 0...byteCount * 8, using: &random)
            for start in 0...limit {
                for value in [false, true] {
                    let expected = bits[start..<limit].firstIndex(of: value) ?? limit
                    let found = bytes.span.bytes.firstBit(value, from: start, below: limit)
                    #expect(found == expected)
                }
            }
        }
    }

    @Test func rangesAreMergedIntoMaximalRunsWithoutTheHoles() throws {
        var random = SeededGenerator.printed("merging")
        let sectors = 200
        for step in 0..<2000 {
            var isFree = [Bool](repeating: false, count: sectors)
            var ranges: [Run] = []
            var at = Int.random(in: 0...5, using: &random)
            while at < sectors {
                let length = min(Int.random(in: 1...20, using: &random), sectors - at)
                ranges.append(Run(logical: UInt64(at), length: UInt64(length)))
                for sector in at..<at + length { isFree[sector] = true }
                at += length + max(0, Int.random(in: -5...10, using: &random))
            }
            var holes: [LogicalRange] = []
            at = Int.random(in: 0...60, using: &random)
            while at < sectors {
                let length = min(Int.random(in: 1...30, using: &random), sectors - at)
                holes.append(LogicalRange(logical: UInt64(at), length: UInt64(length)))
                for sector in at..<at + length { isFree[sector] = false }
                at += length + Int.random(in: 1...60, using: &random)
            }
            var found: [Run] = []
            var merger = FreeRunMerger(excluded: holes)
            let visit = { (logical: UInt64, length: UInt64) throws(FilesystemError) in
                found.append(Run(logical: logical, length: length))
            }
            for range in ranges { try merger.add(range.logical, range.length, visit) }
            try merger.finish(visit)

            var expected: [Run] = []
            for (sector, free) in isFree.enumerated() where free {
                if let last = expected.last, last.end == UInt64(sector) {
                    expected[expected.count - 1] = Run(
                        logical: last.logical,
                        length: last.length + 1
                    )
                } else {
                    expected.append(Run(logical: UInt64(sector), length: 1))
                }
            }
            #expect(found == expected, "step \(step)")
        }
    }
}
