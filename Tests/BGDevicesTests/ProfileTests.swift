//===-- ProfileTests.swift - every profile, as mkfs.btrfs makes it ----------------------------===//
// The chunk map against `btrfs inspect-internal dump-tree`, every mirror of the tree roots, and
// reading on with devices missing, zeroed or failing. Skipped where btrfs-progs is not installed.

import BGDevices
import BGDiskFormat
import BGTestSupport
import Foundation
import Synchronization
import Testing

/// One line per chunk: address, length, words, then devid and offset of each stripe.
private func chunkLines(dump: String) -> [String] {
    var lines: [String] = []
    for line in dump.split(separator: "\n") {
        let words = line.split(whereSeparator: { " \t()".contains($0) })
        if let at = words.firstIndex(of: "CHUNK_ITEM"), words.first == "item" {
            lines.append(String(words[at + 1]))
        } else if words.first == "length", words.contains("stripe_len"), !lines.isEmpty {
            lines[lines.count - 1] += " \(words[1]) \(words.last!)"
        } else if words.first == "stripe", words.count == 6 {
            lines[lines.count - 1] += " \(words[3]):\(words[5])"
        }
    }
    return lines
}

@Suite(.enabled(if: Machine.hasBtrfsProgs, "mkfs.btrfs and btrfs are not installed"))
struct ProfileTests {
    @Test(arguments: ProfileCase.all) func chunksAreThoseOfDumpTree(profile: ProfileCase) throws {
        let image = try profile.make()
        let volume = try Volume.open(paths: image.paths.reversed())
        try volume.loadChunkLeaf()
        let dump = try run(
            "btrfs",
            ["inspect-internal", "dump-tree", "-t", "chunk"] + image.paths
        )
        let ours = volume.chunkMap.chunks.map { chunk in
            let stripes = chunk.item.stripes.map { "\($0.devid):\($0.physical)" }
            return
                (["\(chunk.item.logical)", "\(chunk.item.length)", chunk.item.flags.words]
                + stripes).joined(separator: " ")
        }
        #expect(ours == chunkLines(dump: dump))
        #expect(ours.count >= 3)
        #expect(volume.warnings.isEmpty)
        #expect(volume.missingDevids.isEmpty)
    }

    @Test(arguments: ProfileCase.all) func everyMirrorOfTheRootsVerifies(
        profile: ProfileCase
    ) throws {
        let image = try profile.make()
        let volume = try Volume.open(paths: image.paths)
        try volume.loadChunkLeaf()
        for logical in [volume.superBlock.chunkRoot, volume.superBlock.root] {
            #expect(try volume.mirrorCount(logical: logical) == profile.mirrors)
            let first = try volume.treeBlock(logical, mirror: 1)
            for mirror in 2..<profile.mirrors + 1 {
                #expect(try volume.treeBlock(logical, mirror: mirror) == first)
            }
            let beyond = failure {
                _ = try volume.bytes(logical, 4096, mirror: profile.mirrors + 1)
            }
            #expect(beyond?.code == .invalidArgument)
        }
    }

    @Test(arguments: ["crc32c", "xxhash", "sha256", "blake2"]) func everyChecksumVerifies(
        name: String
    ) throws {
        let image = try Image(deviceCount: 2, ["-m", "raid1", "--csum", name])
        let volume = try Volume.open(paths: image.paths)
        try volume.loadChunkLeaf()
        _ = try volume.treeBlock(volume.superBlock.root, mirror: 1)
        _ = try volume.treeBlock(volume.superBlock.root, mirror: 2)
    }

    /// Sets of `count` out of the devices.
    private func subsets(of devices: Int, upTo count: Int) -> [[Int]] {
        (1..<(1 << devices)).map { bits in (0..<devices).filter { bits >> $0 & 1 == 1 } }
            .filter { $0.count <= count }
    }

    /// The first MiB of every chunk; mkfs has written no further.
    private func content(_ volume: Volume) throws -> [[UInt8]] {
        try volume.chunkMap.chunks.map {
            try volume.bytes($0.item.logical, Int(min($0.item.length, 1 << 20)))
        }
    }

    @Test(arguments: ProfileCase.redundant) func missingDevicesChangeNoByte(
        profile: ProfileCase
    ) throws {
        let image = try profile.make()
        let whole = try Volume.open(paths: image.paths)
        try whole.loadChunkLeaf()
        let expected = try content(whole)
        for gone in subsets(of: profile.devices, upTo: profile.spares) {
            let left = image.paths.enumerated().filter { !gone.contains($0.offset) }
            let volume = try Volume.open(paths: left.map { $0.element })
            try volume.loadChunkLeaf()
            #expect(try content(volume) == expected, "without \(gone)")
            #expect(volume.missingDevids.sorted() == gone.map { UInt64($0 + 1) })
            #expect(!volume.warnings.isEmpty)
        }
    }

    @Test(arguments: ProfileCase.redundant) func zeroedDevicesChangeNoVerifiedByte(
        profile: ProfileCase
    ) throws {
        let image = try profile.make()
        for gone in subsets(of: profile.devices, upTo: profile.spares) {
            let devices = try image.memoryDevices()
            for index in gone {
                devices[index].onRead = { physical, bytes throws(FilesystemError) in
                    if bytes.count != SuperBlock.byteCount || physical != 65536 {
                        for at in bytes.indices { bytes[at] = 0 }
                    }
                }
            }
            let volume = try Volume(devices: devices)
            try volume.loadChunkLeaf()
            _ = try volume.treeBlock(volume.superBlock.root)
            _ = try volume.treeBlock(volume.superBlock.chunkRoot)
        }
    }

    @Test(arguments: ProfileCase.redundant) func failingDevicesChangeNoByteAndAreCounted(
        profile: ProfileCase
    ) throws {
        let image = try profile.make()
        let whole = try Volume.open(paths: image.paths)
        try whole.loadChunkLeaf()
        let expected = try content(whole)
        var errorsInAll: UInt64 = 0
        for gone in subsets(of: profile.devices, upTo: profile.spares) {
            let devices = try image.memoryDevices()
            let volume = try Volume(devices: devices)
            try volume.loadChunkLeaf()
            for index in gone {
                devices[index].onRead = { physical, _ throws(FilesystemError) in
                    throw FilesystemError(.io, "device", "made to fail", physical: physical)
                }
            }
            #expect(try content(volume) == expected, "without \(gone)")
            let errors = gone.map { volume.devices[$0].readErrors }.reduce(0, +)
            #expect(volume.statistics.readErrors.map { $0.count }.reduce(0, +) == errors)
            // Nobody asks a device that holds only second copies.
            #expect((errors > 0) == (volume.correctedReads > 0))
            errorsInAll += errors
            for (index, device) in volume.devices.enumerated() where !gone.contains(index) {
                #expect(device.readErrors == 0)
            }
        }
        #expect(errorsInAll > 0)
    }

    @Test func manyThreadsReadAtOnce() throws {
        let image = try ProfileCase.all.first { $0.name == "raid6" }!.make()
        // Without two devices every block is rebuilt.
        let volume = try Volume.open(paths: Array(image.paths.dropFirst(2)))
        try volume.loadChunkLeaf()
        let expected = try volume.treeBlock(volume.superBlock.root)
        let wrong = Mutex(0)
        DispatchQueue.concurrentPerform(iterations: 64) { _ in
            if (try? volume.treeBlock(volume.superBlock.root)) != expected {
                wrong.withLock { $0 += 1 }
            }
        }
        #expect(wrong.withLock { $0 } == 0)
    }

    @Test(.enabled(if: Machine.tool("btrfstune") != nil, "btrfstune is not installed"))
    func aChangedMetadataUUIDIsUsedForTreeBlocks() throws {
        let image = try Image(deviceCount: 1, ["-m", "dup"])
        try run("btrfstune", ["-m", image.paths[0]])
        let volume = try Volume.open(paths: image.paths)
        #expect(volume.superBlock.incompat.contains(.metadataUUID))
        #expect(volume.superBlock.metadataUUID != volume.superBlock.fsid)
        try volume.loadChunkLeaf()
        _ = try volume.treeBlock(volume.superBlock.root)
    }

    @Test(arguments: ProfileCase.all) func tooManyMissingDevicesAreNamed(
        profile: ProfileCase
    ) throws {
        guard profile.devices > 1 else { return }
        let image = try profile.make()
        let kept = max(1, profile.devices - profile.spares - 1)
        let error = failure {
            let volume = try Volume.open(paths: Array(image.paths.prefix(kept)))
            try volume.loadChunkLeaf()
        }
        // A raid1 family member with one device left is still whole.
        if profile.devices - profile.spares == 1 {
            #expect(error == nil)
        } else {
            #expect(error?.code == .missingDevice)
            #expect((error?.devid ?? 0) > UInt64(kept))
        }
    }

    @Test(arguments: ProfileCase.all) func readingCrossesStripesAtAnyOffset(
        profile: ProfileCase
    ) throws {
        let image = try profile.make()
        let devices = try image.memoryDevices()
        let volume = try Volume(devices: devices)
        try volume.loadChunkLeaf()
        let chunk = try volume.chunk(.data)
        // Fill the data stripes of the first rows through the map, one sector at a time.
        print("seed \(testSeed)")
        var random = SeededGenerator(state: testSeed)
        let size: UInt64 = 1 << 20
        var model: [UInt8] = []
        for offset in stride(from: UInt64(0), to: size, by: 4096) {
            let sector = (0..<4096).map { _ in UInt8(truncatingIfNeeded: random.next()) }
            model += sector
            let place = chunk.place(offset: offset)
            #expect(place.contiguous >= 4096)
            for mirror in 1...chunk.item.profile.copies {
                let index = chunk.stripeIndex(of: place, mirror: mirror)
                let stripe = chunk.item.stripes[index]
                try devices[Int(stripe.devid) - 1].write(
                    physical: stripe.physical + place.stripeOffset,
                    sector
                )
            }
        }
        for _ in 0..<200 {
            let start = Int.random(in: 0..<Int(size), using: &random)
            let count = Int.random(in: 0...min(300_000, Int(size) - start), using: &random)
            let read = try volume.bytes(chunk.item.logical + UInt64(start), count, mirror: 1)
            #expect(read == Array(model[start..<start + count]), "seed \(testSeed)")
        }
    }
}
