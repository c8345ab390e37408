//===-- WritingMutationTests.swift - writing to images with changed bytes ---------------------------===//
// Random changes to the tree blocks of a sound image, with checksums that fit; each image is then
// opened for writing, files are made, written, shortened and removed, and all of it is committed.
//
// Held: no trap and no hang (the run ends); what is refused is refused with an error.
// Replay: BG_SEED=… as printed; BG_ROUNDS=… for longer runs.
//===-------------------------------------------------------------------------------------------===//

import BGDevices
import BGDiskFormat
import BGTestSupport
import Foundation
import Testing

@testable import BlockGroups

@Suite(.enabled(if: Machine.hasMkfs, "needs mkfs.btrfs"))
struct WritingMutationTests {
    static let images: [([String], Int)] = [
        (["-n", "4096"], 400),
        (["-n", "4096", "--mixed"], 200),
        (["-n", "16384", "-R", "^free-space-tree"], 200),
    ]

    @Test(arguments: images.indices)
    func noChangeOfBytesMakesWritingTrapOrHang(index: Int) throws {
        let (options, files) = Self.images[index]
        let image = try MkfsImage(
            sizes: [60 << 20],
            ["-m", "single", "-d", "single"] + options,
            files: files
        )
        let sound = try MemoryDevice(image)
        let superBlock = try Volume(devices: [sound]).superBlock
        let names = try namesOfFiles(sound)
        sound.readPlaces = []
        #expect(use(MemoryDevice(over: sound), names, superBlock) == nil)
        let places = try #require(sound.readPlaces)
        sound.readPlaces = nil
        let blocks = sound.treeBlocks(superBlock).filter { places.contains($0.physical) }
        var random = SeededGenerator.printed("writing to changed image \(index)")
        let rounds = ProcessInfo.processInfo.environment["BG_ROUNDS"].flatMap { Int($0) } ?? 100
        var refused = 0
        for _ in 0..<rounds {
            let device = MemoryDevice(over: sound)
            change(device, blocks, superBlock, &random)
            if use(device, names, superBlock) != nil { refused += 1 }
        }
        print("image \(index): \(refused) of \(rounds) refused")
        #expect(refused > 0)
    }

    private func namesOfFiles(_ device: MemoryDevice) throws -> [FilePath] {
        let filesystem = try openFilesystem([device], readOnly: true)
        var names: [FilePath] = []
        try filesystem.list(FilePath("/")) { (entry) throws(FilesystemError) in
            if entry.kind == .regular { names.append(FilePath(bytes: [0x2f] + entry.name)) }
            return true
        }
        return names
    }

    /// Changes one field or more of a tree block, and gives it the checksum that fits.
    private func change(
        _ device: MemoryDevice,
        _ blocks: [TreeBlockPlace],
        _ superBlock: SuperBlock,
        _ random: inout SeededGenerator
    ) {
        let block = blocks.randomElement(using: &random)!
        let size = Int(superBlock.nodeSize)
        let entries = block.itemCount * (block.level == 0 ? 25 : 33)
        let range =
            switch Int.random(in: 0..<8, using: &random) {
            case 0: block.physical + 80..<block.physical + 101
            case 1...3: block.physical + 101..<block.physical + 101 + max(entries, 8)
            default: block.physical + 101..<block.physical + size
            }
        for _ in 0..<Int.random(in: 1...2, using: &random) {
            let width = [1, 2, 4, 8].randomElement(using: &random)!
            let offset = Int.random(in: range.lowerBound...range.upperBound - 8, using: &random)
            var old: UInt64 = 0
            for index in 0..<width { old |= UInt64(device[offset + index]) << UInt64(8 * index) }
            let new: UInt64 =
                switch Int.random(in: 0..<8, using: &random) {
                case 0: 0
                case 1: .max
                case 2: old &+ 4096
                case 3: old &- 4096
                case 4: old ^ (1 << UInt64.random(in: 0..<64, using: &random))
                case 5: old &+ 1
                case 6: blocks.randomElement(using: &random)!.logical
                default: random.next()
                }
            device.put(new, width, at: offset)
        }
        device.seal(block.physical, count: size, superBlock.checksumType)
    }

    /// Opens for writing, changes files of all sorts, commits; returns the first error.
    private func use(
        _ device: MemoryDevice,
        _ names: [FilePath],
        _ superBlock: SuperBlock
    ) -> FilesystemError? {
        var first: FilesystemError?
        func step(_ body: () throws(FilesystemError) -> Void) {
            do throws(FilesystemError) { try body() } catch { first = first ?? error }
        }
        do throws(FilesystemError) {
            let filesystem = try openFilesystem([device], readOnly: false)
            for (index, name) in names.enumerated() where index % 16 == 0 {
                step { () throws(FilesystemError) in try filesystem.removeFile(name) }
            }
            for (index, name) in names.enumerated() where index % 16 == 1 {
                step { () throws(FilesystemError) in
                    let file = try filesystem.openFile(name)
                    try [UInt8](repeating: 7, count: 9000).withUnsafeBytesThrowing {
                        (bytes) throws(FilesystemError) in try file.write(at: 3000, from: bytes)
                    }
                    try file.truncate(to: 5000)
                    try file.close()
                }
            }
            step { () throws(FilesystemError) in try filesystem.commit() }
            for index in 0..<8 {
                step { () throws(FilesystemError) in
                    try [UInt8](repeating: 8, count: 20_000).withUnsafeBytesThrowing {
                        (bytes) throws(FilesystemError) in
                        try filesystem.createFile(FilePath("/new\(index)"), contents: bytes)
                    }
                }
            }
            step { () throws(FilesystemError) in try filesystem.commit() }
        } catch {
            first = first ?? error
        }
        return first
    }
}
