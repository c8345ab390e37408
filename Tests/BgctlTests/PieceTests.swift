//===-- PieceTests.swift - the parts of bgctl that need no image ----------------------------------===//
// Covered: sizes in and out, and that the check of claims would notice an allocator that is wrong,
// which no run with a right one can show.

import Testing

@testable import bgctl

struct SizeTests {
    @Test(
        arguments: [
            ("4096", UInt64(4096)), ("4K", 4096), ("4k", 4096), ("4KiB", 4096), ("1M", 1 << 20),
            ("1.5G", 3 << 29), ("2 TiB", 2 << 40), ("0", 0), ("7b", 7),
        ] as [(String, UInt64)]
    )
    func sizesAreReadAsPeopleWriteThem(text: String, bytes: UInt64) throws {
        #expect(try parseSize(text) == bytes)
    }

    @Test(arguments: [
        "", "K", "4Q", "-1", "1.5", "1..5K", "0x10", "99999999999999999999", "32768P",
    ])
    func whatIsNoSizeIsRefused(text: String) {
        #expect(throws: (any Error).self) { try parseSize(text) }
    }

    @Test func rangesAreReadAndCheckedForOrder() throws {
        #expect(try SizeRange.parse("4K-1M") == SizeRange(least: 4096, most: 1 << 20))
        #expect(try SizeRange.parse("64K") == SizeRange(least: 65536, most: 65536))
        for text in ["", "-", "1M-4K", "0-4K", "4K-", "1-2-3"] {
            #expect(throws: (any Error).self, "\(text)") { try SizeRange.parse(text) }
        }
    }

    @Test(
        arguments: [
            (UInt64(0), "0 bytes"), (1, "1 byte"), (1023, "1023 bytes"), (1024, "1 KiB"),
            (1536, "1.5 KiB"), (1 << 30, "1 GiB"), ((1 << 30) - 1, "1023 MiB"),
            (13_631_488, "13 MiB"), (UInt64.max, "15.99 EiB"),
        ] as [(UInt64, String)]
    )
    func sizesAreWrittenForPeopleAndNeverRoundedUp(bytes: UInt64, text: String) {
        #expect(sizeText(bytes) == text)
    }

    @Test func onlyAllIsAHundredPercentAndOnlyNothingIsNone() {
        #expect(percentText(999_999, of: 1_000_000) == "99.9 %")
        #expect(percentText(1, of: 1_000_000) == "0.1 %")
        #expect(percentText(5, of: 5) == "100 %")
        #expect(percentText(0, of: 5) == "0 %")
        #expect(bar(1, of: 1_000_000, cells: 4) == "▏···")
        #expect(bar(4, of: 4, cells: 4) == "████")
    }
}

struct OwnerMapTests {
    private func map() throws -> OwnerMap {
        let map = try OwnerMap([(0, 1 << 20), (1 << 21, 1 << 20)], sectorSize: 4096)
        #expect(map.release(0, 1 << 20))
        #expect(map.release(1 << 21, 1 << 19))
        return map
    }

    @Test func aByteWithTwoOwnersIsNoticed() throws {
        let map = try map()
        #expect(map.take(65536, 1 << 19))
        #expect(map.take(65536 + 1 << 19, 4096))
        #expect(!map.take(65536 + (1 << 19) - 4096, 8192))
        #expect(!map.take(0, 1 << 20))
    }

    @Test func whatWasNeverFreeIsNoticed() throws {
        let map = try map()
        #expect(!map.take((1 << 21) + (1 << 19) - 4096, 8192), "runs out of free space")
        #expect(!map.take((1 << 20) - 4096, 8192), "runs out of its group")
        #expect(!map.take(1 << 20, 4096), "in no group")
        #expect(!map.take(2048, 4096), "not whole sectors")
    }

    @Test func whatIsNobodysCannotBeReleased() throws {
        let map = try map()
        #expect(map.take(0, 4096))
        #expect(map.release(0, 4096))
        #expect(!map.release(0, 4096))
    }

    @Test func theSortedCheckFindsOverlapsAndStrays() {
        #expect(firstOverlap([(8192, 4096), (0, 8192), (12288, 4096)]) == nil)
        let found = firstOverlap([(8192, 4096), (0, 8193)])
        #expect(found?.0.logical == 0 && found?.1.logical == 8192)
        let free: [(logical: UInt64, length: UInt64)] = [(4096, 8192), (65536, 4096)]
        #expect(firstOutside([(4096, 8192), (65536, 4096)], free) == nil)
        #expect(firstOutside([(8192, 8192)], free)?.logical == 8192)
        #expect(firstOutside([(0, 4096)], free)?.logical == 0)
        #expect(firstOutside([(69632, 4096)], free)?.logical == 69632)
    }
}
