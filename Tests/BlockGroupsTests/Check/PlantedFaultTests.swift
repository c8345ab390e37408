// Each kind of fault, planted in a sound image, is found and named by its kind; and wherever btrfs
// check of this machine finds errors, so do we.
//
// Covered: images of mkfs.btrfs with a small tree of files. Faults that need snapshots or old file
// systems are in SharedFaultTests. Nothing here needs root.

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

    /// Plants it and holds our report against it and against btrfs check.
    func expectFound(_ editor: ImageEditor) throws {
        try plant(editor)
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
    }
}

/// A small tree of files for mkfs.btrfs --rootdir.
func makeSampleTree() throws -> URL {
    let folder = FileManager.default.temporaryDirectory
        .appendingPathComponent("blockgroups-" + UUID().uuidString)
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
    return folder
}

@Suite(.enabled(if: Machine.hasMkfs, "needs mkfs.btrfs"), .serialized)
struct PlantedFaultTests {
    @Test(arguments: [["-n", "4096"], ["-n", "16384", "--csum", "xxhash"]])
    func everyPlantedFaultIsFoundAndNamed(options: [String]) throws {
        let folder = try makeSampleTree()
        defer { try? FileManager.default.removeItem(at: folder) }
        // Below 64 MiB there is one super block, and single metadata has one copy.
        let image = try MkfsImage(
            sizes: [60 << 20],
            ["-m", "single", "-d", "single", "--rootdir", folder.path] + options
        )
        let editor = try ImageEditor(image)
        var sound = try editor.check(CheckOptions(verifiesData: true, readsAllCopies: true))
        sound.removeAll { $0.isRemark }
        #expect(sound.isEmpty, "\(sound.map { $0.message })")
        for fault in plantedFaults { try fault.expectFound(editor) }
        #expect(try editor.check().allSatisfy { $0.isRemark }, "every change was taken back")
    }

    @Test func whereBtrfsCheckFindsErrorsSoDoWe() throws {
        let folder = try makeSampleTree()
        defer { try? FileManager.default.removeItem(at: folder) }
        let image = try MkfsImage(
            sizes: [60 << 20],
            ["-m", "single", "-d", "single", "-n", "4096", "--rootdir", folder.path]
        )
        let editor = try ImageEditor(image)
        #expect(!editor.refereeComplains())
        var random = SeededGenerator.printed("changed items")
        let environment = ProcessInfo.processInfo.environment
        let rounds = 60 * (environment["BG_TEST_SCALE"].flatMap { Int($0) } ?? 1)
        var missed: [String] = []
        var both = 0
        for round in 0..<rounds {
            let change = try editor.plantAtRandom(&random)
            let ours = (try? editor.check())?.filter { !$0.isRemark }
            if ours?.isEmpty ?? false {
                if editor.refereeComplains() { missed.append("round \(round): \(change)") }
            } else {
                both += 1
            }
            try editor.restore()
        }
        #expect(missed.isEmpty, "\(missed)")
        #expect(both > rounds / 4)
    }
}

extension ImageEditor {
    /// Removes an item, or changes a field of one, somewhere in some tree.
    func plantAtRandom(_ random: inout SeededGenerator) throws -> String {
        let tree = [1, 2, 3, 4, 5, 7, 10].randomElement(using: &random)! as UInt64
        let leaf = try leaves(tree).randomElement(using: &random)!
        var words = ""
        var count = 0
        try editLeaf(tree) { items in
            count += 1
            guard !items.isEmpty, count > 0, leaf != 0 else { return false }
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
            return true
        }
        return words
    }
}
