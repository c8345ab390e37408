//===-- SuperBlockTests.swift - super blocks of mkfs.btrfs, sound and damaged -----------------===//
// Compares every field with `btrfs inspect-internal dump-super`, then changes the bytes.
// Skipped where mkfs.btrfs or btrfs is not installed. BG_SEED replays the random part.

import BGDiskFormat
import BGTestSupport
import Foundation
import Testing

/// A super block of a fresh file system, and what btrfs-progs says about it.
func makeSuperBlock(_ arguments: [String]) throws -> (bytes: [UInt8], dump: [String: String]) {
    let image = try MkfsImage(sizes: [256 << 20], arguments)
    let path = image.path
    let bytes = try image.read(at: 65536, count: 4096)
    var dump: [String: String] = [:]
    for line in try run("btrfs", ["inspect-internal", "dump-super", path]).split(separator: "\n") {
        let words = line.split(maxSplits: 1, whereSeparator: { $0 == "\t" || $0 == " " })
        guard words.count == 2, !line.hasPrefix("\t") else { continue }
        dump[String(words[0])] = words[1].trimmingCharacters(in: .whitespaces)
    }
    return (bytes, dump)
}

func sealed(_ bytes: [UInt8], _ type: ChecksumType) -> [UInt8] {
    var copy = bytes
    var span = copy.mutableSpan
    var raw = span.mutableBytes
    type.seal(block: &raw)
    return copy
}

@Suite(.enabled(if: Machine.hasBtrfsProgs, "mkfs.btrfs and btrfs are not installed"))
struct SuperBlockTests {
    @Test(arguments: [
        ["--csum", "crc32c", "-L", "a label"], ["--csum", "xxhash"], ["--csum", "sha256"],
        ["--csum", "blake2", "-n", "65536"], ["-n", "4096"], ["--mixed", "-n", "4096"],
    ])
    func everyFieldIsWhatBtrfsProgsSays(arguments: [String]) throws {
        let (bytes, dump) = try makeSuperBlock(arguments)
        let superBlock = try SuperBlock(bytes.span.bytes, physical: 65536)
        func number(_ name: String) -> UInt64? {
            guard let word = dump[name]?.split(separator: " ").first else { return nil }
            return word.hasPrefix("0x") ? UInt64(word.dropFirst(2), radix: 16) : UInt64(word)
        }
        func word(_ name: String) -> String? {
            dump[name]?.split(separator: " ").first.map { String($0) }
        }
        #expect(number("csum_type") == UInt64(superBlock.checksumType.rawValue))
        #expect(number("csum_size") == UInt64(superBlock.checksumType.byteCount))
        #expect(word("fsid") == superBlock.fsid.text)
        #expect(word("metadata_uuid") == superBlock.metadataUUID.text)
        #expect((dump["label"] ?? "") == String(decoding: superBlock.label, as: UTF8.self))
        #expect(number("flags") == superBlock.flags)
        #expect(number("generation") == superBlock.generation)
        #expect(number("root") == superBlock.root)
        #expect(number("sys_array_size") == UInt64(superBlock.systemChunkArraySize))
        #expect(number("chunk_root_generation") == superBlock.chunkRootGeneration)
        #expect(number("root_level") == UInt64(superBlock.rootLevel))
        #expect(number("chunk_root") == superBlock.chunkRoot)
        #expect(number("chunk_root_level") == UInt64(superBlock.chunkRootLevel))
        #expect(number("log_root") == superBlock.logRoot)
        #expect(number("log_root_level") == UInt64(superBlock.logRootLevel))
        #expect(number("total_bytes") == superBlock.totalBytes)
        #expect(number("bytes_used") == superBlock.bytesUsed)
        #expect(number("sectorsize") == UInt64(superBlock.sectorSize))
        #expect(number("nodesize") == UInt64(superBlock.nodeSize))
        #expect(number("stripesize") == UInt64(superBlock.stripeSize))
        #expect(number("root_dir") == superBlock.rootDirectory)
        #expect(number("num_devices") == superBlock.deviceCount)
        #expect(number("compat_flags") == superBlock.compat)
        #expect(number("compat_ro_flags") == superBlock.compatReadOnly.rawValue)
        #expect(number("incompat_flags") == superBlock.incompat.rawValue)
        #expect(number("cache_generation") == superBlock.cacheGeneration)
        #expect(number("uuid_tree_generation") == superBlock.uuidTreeGeneration)
        #expect(word("dev_item.uuid") == superBlock.device.uuid.text)
        #expect(word("dev_item.fsid") == superBlock.device.filesystemUUID.text)
        #expect(number("dev_item.type") == superBlock.device.type)
        #expect(number("dev_item.total_bytes") == superBlock.device.totalBytes)
        #expect(number("dev_item.bytes_used") == superBlock.device.bytesUsed)
        #expect(number("dev_item.io_align") == UInt64(superBlock.device.ioAlign))
        #expect(number("dev_item.io_width") == UInt64(superBlock.device.ioWidth))
        #expect(number("dev_item.sector_size") == UInt64(superBlock.device.sectorSize))
        #expect(number("dev_item.devid") == superBlock.device.devid)
        #expect(number("dev_item.dev_group") == UInt64(superBlock.device.deviceGroup))
        #expect(number("dev_item.seek_speed") == UInt64(superBlock.device.seekSpeed))
        #expect(number("dev_item.bandwidth") == UInt64(superBlock.device.bandwidth))
        #expect(number("dev_item.generation") == superBlock.device.generation)
        #expect(!superBlock.systemChunks.isEmpty)
    }

    @Test func eachDamagedFieldIsNamed() throws {
        let (bytes, _) = try makeSuperBlock([])
        func changed(_ offset: Int, _ value: UInt64, width: Int) -> String? {
            var copy = bytes
            for index in 0..<width {
                copy[offset + index] = UInt8(truncatingIfNeeded: value >> (8 * index))
            }
            let good = sealed(copy, .crc32c)
            return message { _ = try SuperBlock(good.span.bytes, physical: 65536) }
        }
        let cases: [(Int, UInt64, Int, String)] = [
            (64, 0, 8, "no btrfs signature"), (48, 4096, 8, "says it lies at 4096"),
            (196, 9, 2, "checksum type 9"), (188, 1 << 12, 8, "incompat feature bits 4096"),
            (188, 1 << 40, 8, "incompat feature bits"), (56, 1 << 35, 8, "flags"),
            (144, 2048, 4, "sector size 2048"), (144, 5000, 4, "sector size 5000"),
            (144, 131072, 4, "sector size"), (148, 2048, 4, "node size 2048"),
            (148, 131072, 4, "node size"), (152, 4096, 4, "leaf size 4096"),
            (156, 3, 4, "stripe size 3"), (120, 1, 8, "fewer than six tree blocks"),
            (120, UInt64.max, 8, "bytes used of"), (80, 1, 8, "root tree at 1"),
            (88, 4097, 8, "chunk tree at 4097"), (96, 5, 8, "log tree at 5"),
            (198, 8, 1, "level 8"), (199, 8, 1, "level 8"), (200, 255, 1, "level 255"),
            (72, 1, 8, "above generation"), (72, UInt64.max, 8, "generation"),
            (136, 0, 8, "0 devices"), (136, 1 << 40, 8, "devices"),
            (160, 96, 4, "system chunk array of 96"), (160, 2049, 4, "2049"),
            (160, 135, 4, "cut off"), (283, 0, 8, "another file system"),
            (209, 0, 8, "bytes used of 0"), (209, 1 << 50, 8, "device of"),
            (180, 0x9, 8, "block-group tree without"),
            (811, 3, 8, "is not a chunk's"), (811 + 17 + 24, 1, 8, "stripes with type"),
        ]
        for (offset, value, width, words) in cases {
            let text = changed(offset, value, width: width)
            #expect(
                text?.contains(words) == true,
                "offset \(offset): expected \(words), got \(text ?? "success")"
            )
        }
    }

    @Test func aWrongChecksumIsCorruption() throws {
        var (bytes, _) = try makeSuperBlock([])
        bytes[4000] ^= 1
        let text = message { _ = try SuperBlock(bytes.span.bytes, physical: 65536) }
        #expect(text == "corrupt super block: physical=65536, checksum does not match")
    }

    @Test func unknownReadOnlyFeaturesAllowReadingOnly() throws {
        var (bytes, _) = try makeSuperBlock([])
        let plain = try SuperBlock(bytes.span.bytes, physical: 65536)
        #expect(plain.isWritable)
        bytes[182] = 0x80
        let good = sealed(bytes, .crc32c)
        let unknown = try SuperBlock(good.span.bytes, physical: 65536)
        #expect(!unknown.isWritable)
    }

    @Test func anyByteMayChangeWithoutATrap() throws {
        let (bytes, _) = try makeSuperBlock([])
        print("seed \(testSeed)")
        var random = SeededGenerator(state: testSeed)
        var refused = 0
        for offset in Array(32..<600) + Array(811..<1100) {
            for value in [0, 0xff, bytes[offset] ^ 1, UInt8(truncatingIfNeeded: random.next())] {
                var copy = bytes
                copy[offset] = value
                let good = sealed(copy, .crc32c)
                if (try? SuperBlock(good.span.bytes, physical: 65536)) == nil { refused += 1 }
            }
        }
        for _ in 0..<2000 {
            var copy = bytes
            for _ in 0..<8 {
                copy[Int.random(in: 32..<1100, using: &random)] =
                    UInt8(truncatingIfNeeded: random.next())
            }
            let good = sealed(copy, .crc32c)
            if (try? SuperBlock(good.span.bytes, physical: 65536)) == nil { refused += 1 }
        }
        #expect(refused > 500, "seed \(testSeed)")
    }
}
