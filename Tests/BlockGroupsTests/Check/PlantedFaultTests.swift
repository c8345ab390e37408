// Each kind of fault, planted in a sound image, is found and named by its kind; and wherever btrfs
// check of this machine finds errors, so do we.
//
// Covered: images of mkfs.btrfs with a small tree of files. Faults in what snapshots share are
// planted in SoundKernelImageTests. Nothing here needs root.

import BGDevices
import BGDiskFormat
import Foundation
import BGTestSupport
import Testing

@testable import BlockGroups

/// A change of an image, and what must be said of it.
struct PlantedFault: CustomTestStringConvertible, Sendable {
    let name: String
    /// One of these must be reported.
    let kind: CheckFault.Kind
    let options: CheckOptions
    let plant: @Sendable (ImageEditor) throws -> Void

    init(
        _ name: String,
        _ kind: CheckFault.Kind,
        _ options: CheckOptions = CheckOptions(),
        _ plant: @escaping @Sendable (ImageEditor) throws -> Void
    ) {
        self.name = name
        self.kind = kind
        self.options = options
        self.plant = plant
    }

    var testDescription: String { name }

    /// Plants it and holds our report against it.
    ///
    /// - Returns: false where it could not be planted, for want of room in a leaf.
    func expectFound(_ editor: ImageEditor) throws -> Bool {
        do { try plant(editor) } catch is LeafIsFull {
            try editor.restore()
            return false
        }
        do {
            let faults = try editor.check(options)
            let lines = faults.map { $0.message }.joined(separator: "\n")
            #expect(
                faults.contains { $0.kind == kind && !$0.isRemark },
                "\(name): expected a fault of \(kind.words), got:\n\(lines)"
            )
            #expect(
                faults.filter { !$0.isRemark }.count <= 60,
                "\(name): one fault, \(faults.count) lines"
            )
            for fault in faults { #expect(!fault.message.isEmpty && !fault.message.contains("%")) }
        } catch let error as FilesystemError {
            // What cannot be opened at all is found, too.
            #expect(kind == .superBlock, "\(name): \(error.message)")
        }
        try editor.restore()
        return true
    }
}

/// An image with a small tree of files. Below 64 MiB there is one super block, and single metadata has one
/// copy.
func sampleImage(_ options: [String]) throws -> MkfsImage {
    let temporary = try TemporaryFolder()
    let folder = temporary.url
    let manager = FileManager.default
    try manager.createDirectory(
        at: folder.appendingPathComponent("folder/inner"),
        withIntermediateDirectories: true
    )
    for number in 0..<12 {
        let content = Data(repeating: UInt8(number + 1), count: 4096 * (number + 1) + 100 * number)
        try content.write(to: folder.appendingPathComponent("folder/file\(number)"))
    }
    try Data("inline".utf8).write(to: folder.appendingPathComponent("small"))
    try manager.createSymbolicLink(
        atPath: folder.appendingPathComponent("link").path,
        withDestinationPath: "folder/file1"
    )
    return try MkfsImage(
        sizes: [60 << 20],
        ["-m", "single", "-d", "single", "--rootdir", folder.path] + options
    )
}

@Suite(.enabled(if: Machine.hasMkfs, "needs mkfs.btrfs"), .serialized)
struct PlantedFaultTests {
    @Test(arguments: [["-n", "4096"], ["-n", "16384", "--csum", "xxhash"]])
    func everyPlantedFaultIsFoundAndNamed(options: [String]) throws {
        let image = try sampleImage(options)
        let editor = try ImageEditor(image)
        var sound = try editor.check(CheckOptions(verifiesData: true, readsAllCopies: true))
        sound.removeAll { $0.isRemark }
        #expect(sound.isEmpty, "\(sound.map { $0.message })")
        // What files lie in a leaf is up to the inode numbers of this machine: a leaf may be full.
        var skipped: [String] = []
        for fault in plantedFaults where try !fault.expectFound(editor) {
            skipped.append(fault.name)
        }
        #expect(skipped.count <= (editor.superBlock.nodeSize > 4096 ? 0 : 4), "\(skipped)")
        #expect(try editor.check().allSatisfy { $0.isRemark }, "every change was taken back")
    }

    @Test func whereBtrfsCheckFindsErrorsSoDoWe() throws {
        let image = try sampleImage(["-n", "4096"])
        var random = SeededGenerator.printed("changed items")
        try ImageEditor(image).compareWithBtrfsCheck(60, [1, 2, 3, 4, 5, 7, 10], &random)
    }

    @Test func noChangeOfBytesTrapsOrHangsTheCheck() throws {
        let image = try sampleImage(["-n", "4096"])
        let editor = try ImageEditor(image)
        var random = SeededGenerator.printed("changed bytes")
        var found = 0
        let rounds = 300 * testScale
        for _ in 0..<rounds {
            let tree = [1, 2, 3, 4, 5, 7, 10].randomElement(using: &random)! as UInt64
            let leaf = try editor.leaves(tree).randomElement(using: &random)!
            try editor.editBlock(leaf) { block in
                let items = Int(block.number(96, 4)) * 25
                let headers = 32..<101 + max(items, 8)
                for _ in 0..<Int.random(in: 1...3, using: &random) {
                    let range = Bool.random(using: &random) ? headers : 101..<block.count
                    let offset = Int.random(in: range, using: &random)
                    block[offset] = [0, 0xff, block[offset] ^ 1, block[offset] &+ 1]
                        .randomElement(using: &random)!
                }
            }
            do {
                let options = CheckOptions(verifiesData: true, readsAllCopies: true)
                let faults = try editor.check(options)
                found += faults.contains { !$0.isRemark } ? 1 : 0
                #expect(faults.count < 5000)
            } catch is FilesystemError {
                found += 1
            }
            try editor.restore()
        }
        // Most changes do matter; some hit padding and times.
        #expect(found > rounds / 2, "\(found) of \(rounds)")
    }
}

extension ImageEditor {
    /// Changes items at random; what btrfs check complains of, we must too.
    func compareWithBtrfsCheck(
        _ rounds: Int,
        _ trees: [UInt64],
        _ random: inout SeededGenerator
    ) throws {
        // Some versions find errors in sound images in one mode: that mode is no judge then.
        let modes = ["original", "lowmem"].filter { !btrfsCheckComplains($0) }
        #expect(modes.contains("original"))
        var missed: [String] = []
        var found = 0
        for round in 0..<rounds * testScale {
            let change = try plantAtRandom(trees, &random)
            let ours = (try? check())?.filter { !$0.isRemark }
            if ours?.isEmpty ?? false {
                for mode in modes where btrfsCheckComplains(mode) {
                    missed.append("round \(round), \(mode): \(change)")
                }
            } else {
                found += 1
            }
            try restore()
        }
        #expect(missed.isEmpty, "\(missed)")
        #expect(found > rounds / 4)
    }

    /// Removes an item, or changes a bit of one, somewhere in some tree.
    private func plantAtRandom(
        _ trees: [UInt64],
        _ random: inout SeededGenerator
    ) throws -> String {
        let tree = trees.randomElement(using: &random)!
        let leaf = try leaves(tree).randomElement(using: &random)!
        var words = ""
        try editItems(leaf) { items in
            guard !items.isEmpty else { return }
            let slot = Int.random(in: 0..<items.count, using: &random)
            let item = items[slot]
            words = "tree \(tree) item \(item.key)"
            if items.count > 1, slot > 0, Bool.random(using: &random) || item.data.isEmpty {
                items.remove(at: slot)
                words += " removed"
            } else if !item.data.isEmpty {
                let offset = Int.random(in: 0..<min(item.data.count, 64), using: &random)
                let bit = UInt8(1) << UInt8.random(in: 0..<8, using: &random)
                items[slot].data[offset] ^= bit
                words += " byte \(offset) bit \(bit)"
            }
        }
        return words
    }
}
