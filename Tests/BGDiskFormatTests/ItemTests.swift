//===-- ItemTests.swift - items of trees: sound ones are read, damaged ones refused -----------===//
// Random bytes go into every initializer: none may trap. BG_SEED replays.

import BGDiskFormat
import BGTestSupport
import Foundation
import Testing

/// Bytes of an item, little-endian numbers one after another.
struct ItemBytes {
    var bytes: [UInt8] = []
    func u8(_ value: UInt8) -> ItemBytes { ItemBytes(bytes: bytes + [value]) }
    func u16(_ value: UInt16) -> ItemBytes { adding(value) }
    func u32(_ value: UInt32) -> ItemBytes { adding(value) }
    func u64(_ value: UInt64) -> ItemBytes { adding(value) }
    func zeros(_ count: Int) -> ItemBytes {
        ItemBytes(bytes: bytes + [UInt8](repeating: 0, count: count))
    }
    private func adding<T: FixedWidthInteger>(_ value: T) -> ItemBytes {
        ItemBytes(bytes: bytes + withUnsafeBytes(of: value.littleEndian) { Array($0) })
    }
}

let limits = FormatLimits(
    sectorSize: 4096,
    nodeSize: 16384,
    generation: 100,
    incompat: IncompatFlags(rawValue: 0x341)
)

func message(_ body: () throws -> Void) -> String? {
    do { try body() } catch let error as FilesystemError { return error.message } catch {}
    return nil
}

@Suite struct ChunkItemTests {
    func chunk(
        length: UInt64 = 8 << 20,
        stripeLength: UInt64 = 65536,
        type: UInt64 = 1,
        sector: UInt32 = 4096,
        stripes: Int = 1,
        sub: UInt16 = 1,
        physical: UInt64 = 1 << 20,
        written: Int? = nil
    ) -> [UInt8] {
        var item = ItemBytes().u64(length).u64(2).u64(stripeLength).u64(type).u32(65536)
            .u32(65536).u32(sector).u16(UInt16(stripes)).u16(sub)
        for index in 0..<(written ?? stripes) {
            item = item.u64(UInt64(index + 1)).u64(physical).zeros(16)
        }
        return item.bytes
    }

    func parse(_ bytes: [UInt8], logical: UInt64 = 1 << 20) throws -> ChunkItem {
        try ChunkItem(key: Key(256, .chunkItem, logical), bytes.span.bytes, limits)
    }

    @Test func soundChunksOfEveryProfileAreRead() throws {
        let counts: [(Profile, Int)] = [
            (.single, 1), (.dup, 2), (.raid0, 3), (.raid1, 2), (.raid1c3, 3), (.raid1c4, 4),
            (.raid10, 6), (.raid5, 3), (.raid6, 5),
        ]
        for (profile, count) in counts {
            let item = try parse(
                chunk(
                    type: 1 | profile.flags.rawValue,
                    stripes: count,
                    sub: profile == .raid10 ? 2 : 1
                )
            )
            #expect(item.profile == profile)
            #expect(item.stripes.count == count)
            #expect(item.end == 9 << 20)
        }
    }

    @Test func eachDamagedFieldIsNamed() {
        let cases: [([UInt8], String)] = [
            (chunk(length: 0), "length 0 not sector aligned"),
            (chunk(length: 4097), "length 4097 not sector aligned"),
            (chunk(length: UInt64.max - 4095), "passes the last address"),
            (chunk(length: 1 << 60), "too large"),
            (chunk(stripeLength: 32768), "stripe length 32768"),
            (chunk(sector: 512), "sector size 512"),
            (chunk(type: 0), "type 0 is not one kind"),
            (chunk(type: 5), "mixed type"),
            (chunk(type: 1 | 8 | 16, stripes: 2), "more than one profile"),
            (chunk(type: 1, stripes: 2), "2 stripes with type 1"),
            (chunk(type: 1 | 64, stripes: 4, sub: 1), "1 sub-stripes"),
            (chunk(physical: 100), "stripe offset not sector aligned"),
            (chunk(physical: UInt64.max - 4095), "stripe passes the last address"),
            (chunk(stripes: 0), "0 stripes"),
            (chunk(type: 1 | 8, stripes: 9, written: 2), "item of"),
            (chunk(written: 2), "item of"),
            (Array(chunk().prefix(40)), "item of 40 bytes"),
        ]
        for (bytes, words) in cases {
            let text = message { _ = try parse(bytes) }
            #expect(text?.contains(words) == true, "expected \(words), got \(text ?? "success")")
        }
    }

    @Test func aChunkAtAnUnalignedAddressIsRefused() {
        #expect(message { _ = try parse(chunk(), logical: 17) } != nil)
    }
}

@Suite struct ExtentItemTests {
    @Test func dataWithInlineReferencesIsRead() throws {
        let bytes = ItemBytes().u64(3).u64(7).u64(1)
            .u8(178).u64(5).u64(257).u64(4096).u32(2)
            .u8(184).u64(1 << 20).u32(1).bytes
        let raw = bytes.span.bytes
        let item = try ExtentItem(key: Key(4096, .extentItem, 8192), raw, limits)
        #expect(item.end == 12288 && item.refs == 3 && item.level == nil)
        var offset = item.inlineRefsStart
        let first = try item.nextInlineRef(raw, &offset)
        let second = try item.nextInlineRef(raw, &offset)
        let third = try item.nextInlineRef(raw, &offset)
        #expect(first == .data(root: 5, inode: 257, offset: 4096, count: 2))
        #expect(second == .sharedData(parent: 1 << 20, count: 1))
        #expect(third == nil)
    }

    @Test func skinnyAndFatTreeBlocksAreRead() throws {
        let skinny = ItemBytes().u64(1).u64(7).u64(2).u8(176).u64(2).bytes
        let a = try ExtentItem(key: Key(16384, .metadataItem, 1), skinny.span.bytes, limits)
        #expect(a.length == 16384 && a.level == 1 && a.isSkinny)
        let fat = ItemBytes().u64(1).u64(7).u64(2).zeros(17).u8(3).u8(176).u64(2).bytes
        let b = try ExtentItem(key: Key(16384, .extentItem, 16384), fat.span.bytes, limits)
        #expect(b.length == 16384 && b.level == 3 && !b.isSkinny)
    }

    @Test func eachDamagedFieldIsNamed() {
        let good = ItemBytes().u64(1).u64(7).u64(1)
        let data = Key(4096, .extentItem, 8192)
        let cases: [(Key, [UInt8], String)] = [
            (Key(4097, .extentItem, 8192), good.bytes, "address 4097 not sector aligned"),
            (Key(4096, .extentItem, 4095), good.bytes, "length 4095 not sector aligned"),
            (Key(4096, .extentItem, 0), good.bytes, "length 0 not sector aligned"),
            (
                Key(UInt64.max - 4095, .extentItem, 8192), good.bytes,
                "passes the last address"
            ),
            (data, ItemBytes().u64(0).u64(7).u64(1).bytes, "no references"),
            (data, ItemBytes().u64(1).u64(102).u64(1).bytes, "generation 102"),
            (data, ItemBytes().u64(1).u64(7).u64(3).bytes, "neither data nor tree block"),
            (data, ItemBytes().u64(1).u64(7).u64(0x101).bytes, "data with flags"),
            (data, good.u8(99).bytes, "inline reference of type 99"),
            (data, good.u8(178).u64(1).bytes, "cut off"),
            (data, good.u8(176).u64(1).bytes, "tree block reference to data"),
            (data, good.u8(184).u64(4096).u32(2).bytes, "2 references inline of 1"),
            (data, good.u8(184).u64(4095).u32(1).bytes, "4095, not sector aligned"),
            (Key(4096, .metadataItem, 8), ItemBytes().u64(1).u64(7).u64(2).bytes, "level 8"),
            (
                Key(4096, .extentItem, 8192), ItemBytes().u64(1).u64(7).u64(2).bytes,
                "tree block of 8192 bytes"
            ),
            (data, Array(good.bytes.prefix(20)), "item of 20 bytes"),
        ]
        for (key, bytes, words) in cases {
            let text = message { _ = try ExtentItem(key: key, bytes.span.bytes, limits) }
            #expect(text?.contains(words) == true, "expected \(words), got \(text ?? "success")")
        }
    }
}

@Suite struct SmallItemTests {
    @Test func blockGroupsAreReadAndChecked() throws {
        func parse(_ logical: UInt64, _ length: UInt64, _ used: UInt64, _ flags: UInt64) throws {
            let bytes = ItemBytes().u64(used).u64(256).u64(flags).bytes
            _ = try BlockGroupItem(
                key: Key(logical, .blockGroupItem, length),
                bytes.span.bytes,
                limits
            )
        }
        try parse(0, 1 << 20, 1 << 20, 1)
        #expect(message { try parse(0, 1 << 20, 1 << 20 + 1, 1) }?.contains("bytes used") == true)
        #expect(message { try parse(1, 1 << 20, 0, 1) }?.contains("address 1") == true)
        #expect(message { try parse(0, 0, 0, 1) }?.contains("length 0") == true)
        #expect(message { try parse(0, 1 << 20, 0, 3) }?.contains("one kind") == true)
        #expect(message { try parse(0, 1 << 20, 0, 5) }?.contains("mixed") == true)
    }

    @Test func freeSpaceItemsAreReadAndChecked() throws {
        let info = ItemBytes().u32(3).u32(1).bytes
        let item = try FreeSpaceInfo(
            key: Key(4096, .freeSpaceInfo, 1 << 20),
            info.span.bytes,
            limits
        )
        #expect(item.usesBitmaps && item.extentCount == 3)
        let none: [UInt8] = []
        let extent = try FreeSpaceExtent(
            key: Key(4096, .freeSpaceExtent, 8192),
            none.span.bytes,
            limits
        )
        #expect(extent.length == 8192)
        let bits: [UInt8] = [0b101]
        let bitmap = try FreeSpaceBitmap(
            key: Key(0, .freeSpaceBitmap, 4096 * 3),
            bits.span.bytes,
            limits
        )
        #expect(bitmap.sectorCount == 3)
        let free = (0..<3).map { FreeSpaceBitmap.isFree(bits.span.bytes, sector: $0) }
        #expect(free == [true, false, true])
        let refused: [() throws -> Void] = [
            {
                _ = try FreeSpaceBitmap(
                    key: Key(0, .freeSpaceBitmap, 4096 * 9),
                    bits.span.bytes,
                    limits
                )
            },
            {
                _ = try FreeSpaceBitmap(
                    key: Key(0, .freeSpaceBitmap, 1 << 40),
                    bits.span.bytes,
                    limits
                )
            },
            {
                _ = try FreeSpaceExtent(
                    key: Key(4096, .freeSpaceExtent, 0),
                    none.span.bytes,
                    limits
                )
            },
            {
                _ = try FreeSpaceExtent(
                    key: Key(4096, .freeSpaceExtent, 8192),
                    bits.span.bytes,
                    limits
                )
            },
            {
                _ = try FreeSpaceInfo(
                    key: Key(4096, .freeSpaceInfo, 8192),
                    info.span.bytes,
                    limits
                )
            },
        ]
        for parse in refused { #expect(message { try parse() } != nil) }
    }

    @Test func randomBytesNeverTrap() {
        print("seed \(testSeed)")
        var random = SeededGenerator(state: testSeed)
        let sizes = [0, 7, 8, 17, 24, 33, 48, 53, 80, 97, 98, 101, 112, 208, 239, 256, 439]
        let types: [KeyType] = [
            .rootItem, .extentItem, .metadataItem, .blockGroupItem, .freeSpaceInfo,
            .freeSpaceExtent, .freeSpaceBitmap, .deviceExtent, .deviceItem, .chunkItem,
        ]
        func number() -> UInt64 {
            switch random.next() % 4 {
            case 0: random.next()
            case 1: random.next() % 300
            case 2: random.next() << 12
            default: (random.next() % 4096) << 12
            }
        }
        var refused = 0
        var accepted = 0
        for _ in 0..<20_000 {
            var bytes = [UInt8](repeating: 0, count: sizes.randomElement(using: &random)!)
            let dense = Bool.random(using: &random)
            for index in bytes.indices where dense || random.next() % 8 == 0 {
                bytes[index] = UInt8(truncatingIfNeeded: random.next())
            }
            let type = types.randomElement(using: &random)!
            let key = Key(random.next() % 2 == 0 ? 256 : number(), type, number())
            let raw = bytes.span.bytes
            let attempts: [Bool] = [
                (try? RootItem(key: key, raw, limits)) == nil,
                (try? ExtentItem(key: key, raw, limits)) == nil,
                (try? BlockGroupItem(key: key, raw, limits)) == nil,
                (try? FreeSpaceInfo(key: key, raw, limits)) == nil,
                (try? FreeSpaceExtent(key: key, raw, limits)) == nil,
                (try? FreeSpaceBitmap(key: key, raw, limits)) == nil,
                (try? DeviceExtent(key: key, raw, limits)) == nil,
                (try? DeviceItem(key: key, raw)) == nil,
                (try? ChunkItem(key: key, raw, limits)) == nil,
                (try? ChunkItem(key: key, prefix: raw, limits)) == nil,
                (try? NodeHeader(raw)) == nil,
            ]
            for failed in attempts {
                if failed { refused += 1 } else { accepted += 1 }
            }
        }
        #expect(refused > 0 && accepted > 0, "seed \(testSeed)")
    }
}
