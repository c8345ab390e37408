// Random changes to sound images: super block, headers, items, pointers, whole blocks put in other
// places; half of the changed blocks get a checksum that fits, so that what lies behind the
// checksum is reached. Each image is then opened and read to the end.
//
// Held: no trap and no hang (the run ends), bytes read stay within a small multiple of what the
// sound image takes, errors say what and where, and what is listed without an error is in order.
// Replay: BG_SEED=… as printed; BG_ROUNDS=… for longer runs.

import BGDevices
import BGDiskFormat
import BGTestSupport
import Foundation
import Testing

@testable import BlockGroups

private struct Mutator {
    let device: MemoryDevice
    let superBlock: SuperBlock
    let blocks: [TreeBlockPlace]
    var random: SeededGenerator
    /// Bytes before the change, and where they were.
    var saved: (Int, [UInt8]) = (0, [])

    mutating func restore() {
        device.replace(at: saved.0, with: saved.1)
    }

    private mutating func save(_ physical: Int, _ count: Int) {
        saved = (physical, device.bytes(at: physical, count))
    }

    private mutating func value(_ old: UInt64) -> UInt64 {
        switch Int.random(in: 0..<8, using: &random) {
        case 0: 0
        case 1: .max
        case 2: old &+ 1
        case 3: old &- 1
        case 4: old ^ (1 << UInt64.random(in: 0..<64, using: &random))
        case 5: UInt64.random(in: 0..<300, using: &random)
        case 6: blocks.randomElement(using: &random)!.logical
        default: random.next()
        }
    }

    private mutating func change(_ range: Range<Int>) {
        let width = [1, 2, 4, 8].randomElement(using: &random)!
        let offset = Int.random(
            in: range.lowerBound...max(range.lowerBound, range.upperBound - 8),
            using: &random
        )
        var old: UInt64 = 0
        for index in 0..<width { old |= UInt64(device[offset + index]) << UInt64(8 * index) }
        device.put(value(old), width, at: offset)
    }

    /// Changes something; returns whether the checksum fits it.
    mutating func mutate() -> Bool {
        let seal = Bool.random(using: &random)
        if Int.random(in: 0..<5, using: &random) == 0 {
            save(64 << 10, 4096)
            for _ in 0..<Int.random(in: 1...3, using: &random) {
                // The fields, and the system chunk array behind them.
                change((64 << 10) + 32..<(64 << 10) + 1100)
            }
            if seal { device.seal(64 << 10, count: 4096, superBlock.checksumType) }
            return seal
        }
        let block = blocks.randomElement(using: &random)!
        let size = Int(superBlock.nodeSize)
        save(block.physical, size)
        let entries = block.itemCount * (block.level == 0 ? 25 : 33)
        switch Int.random(in: 0..<5, using: &random) {
        case 0: change(block.physical + 32..<block.physical + 101)
        case 1: change(block.physical + 101..<block.physical + 101 + max(entries, 8))
        case 2: change(block.physical + 101..<block.physical + size)
        case 3:
            let slot = Int.random(in: 0...max(block.itemCount - 1, 0), using: &random)
            let entry = block.physical + 101 + slot * (block.level == 0 ? 25 : 33)
            change(entry..<entry + 33)
        default:
            // Another block in this one's place, perhaps with the right address on it.
            let other = blocks.randomElement(using: &random)!
            device.replace(at: block.physical, with: device.bytes(at: other.physical, size))
            device.put(block.logical, 8, at: block.physical + 48)
        }
        if seal { device.seal(block.physical, count: size, superBlock.checksumType) }
        return seal
    }
}

/// Opens and reads everything; returns the errors met.
private func readAll(_ device: MemoryDevice) -> [FilesystemError] {
    var errors: [FilesystemError] = []
    do throws(FilesystemError) {
        let reader = try FilesystemReader(Volume(devices: [device]))
        for group in reader.blockGroups {
            for source in [FreeSpaceSource.freeSpaceTree, .extentTree] {
                var end = group.logical
                var first = true
                do throws(FilesystemError) {
                    try reader.freeSpace(of: group, source: source) { (logical, length) in
                        let isInOrder = first ? logical >= end : logical > end
                        #expect(isInOrder && length > 0 && length <= group.end - logical)
                        end = logical + length
                        first = false
                    }
                } catch {
                    errors.append(error)
                }
            }
        }
    } catch {
        errors.append(error)
    }
    return errors
}

@Suite(.enabled(if: Machine.hasMkfs, "needs mkfs.btrfs"))
struct MutationTests {
    static let images: [([String], Int)] = [
        (["-n", "4096"], 600),
        (["-n", "16384", "-R", "^free-space-tree"], 200),
        (["-n", "4096", "--mixed"], 200),
        (["-n", "4096", "-O", "^skinny-metadata", "--csum", "xxhash"], 200),
    ]

    @Test(arguments: images.indices)
    func noChangeOfBytesTrapsHangsOrTakesManyReads(index: Int) throws {
        let (options, files) = Self.images[index]
        // Below 64 MiB there is one super block, and single metadata has one copy: every change
        // counts.
        let image = try MkfsImage(
            sizes: [60 << 20],
            ["-m", "single", "-d", "single"] + options,
            files: files
        )
        try change(MemoryDevice(image), "image \(index)")
    }

    @Test(.enabled(if: Machine.canMount, "needs root and loop mounts of btrfs"))
    func noChangeOfBytesOfAnAgedImageDoesEither() throws {
        let image = try MkfsImage(
            sizes: [256 << 20],
            ["-m", "single", "-d", "single", "-n", "4096"]
        )
        var random = SeededGenerator.printed("aging")
        try image.mounted { point in try image.age(point, files: 1000, &random) }
        let device = try MemoryDevice(image)
        // The second copy of the super block would stand in for the first.
        device.put(0, 8, at: (64 << 20) + 64)
        try change(device, "aged image")
    }

    /// Changes the device's bytes in many ways, one at a time, and reads it after each.
    private func change(_ device: MemoryDevice, _ name: String) throws {
        let superBlock = try Volume(devices: [device]).superBlock
        let hasTree = superBlock.hasValidFreeSpaceTree
        device.readBytes = 0
        device.readPlaces = []
        #expect(isSound(device, hasTree))
        let soundBytes = device.readBytes
        // Blocks that a reader meets; there are older versions of most of them.
        let places = try #require(device.readPlaces)
        device.readPlaces = nil
        var mutator = Mutator(
            device: device,
            superBlock: superBlock,
            blocks: device.treeBlocks(superBlock).filter { places.contains($0.physical) },
            random: .printed("changing \(name)")
        )
        let rounds = ProcessInfo.processInfo.environment["BG_ROUNDS"].flatMap { Int($0) } ?? 1000
        var refused = 0
        var refusedSealed = 0
        for round in 0..<rounds {
            let isSealed = mutator.mutate()
            device.readBytes = 0
            let errors = readAll(device).filter { hasTree || $0.code != .invalidArgument }
            #expect(device.readBytes <= 4 * soundBytes + (1 << 20), "round \(round)")
            for error in errors {
                #expect(error.code != .noMemory && !error.message.isEmpty, "round \(round)")
            }
            refused += errors.isEmpty ? 0 : 1
            refusedSealed += errors.isEmpty || !isSealed ? 0 : 1
            mutator.restore()
        }
        print(
            "\(name): \(refused) of \(rounds) refused, \(refusedSealed) behind the checksum"
        )
        #expect(refusedSealed > rounds / 20)
        #expect(refused < rounds)
        #expect(isSound(device, hasTree))
    }

    /// Whether everything can be read but a free-space tree that is not there.
    private func isSound(_ device: MemoryDevice, _ hasTree: Bool) -> Bool {
        readAll(device).allSatisfy { !hasTree && $0.code == .invalidArgument }
    }
}
