// One tree, the sorted array that it should be, and random operations played on both. The space
// (MemorySpace.swift) checks every block of the tree, that none is leaked, and that committed ones
// never change. Replay with BG_SEED=…; BG_TEST_SCALE=n plays n times as many operations.

import BGDiskFormat
import Foundation
import Testing

@testable import BGTrees

/// Where the numbers of a test come from.
enum Replay {
    static let seed = number("BG_SEED") ?? UInt64.random(in: 1...1_000_000)
    static let scale = Int(number("BG_TEST_SCALE") ?? 1)

    private static func number(_ name: String) -> UInt64? {
        ProcessInfo.processInfo.environment[name].flatMap { UInt64($0) }
    }

    /// splitmix64.
    struct Random: RandomNumberGenerator {
        var state: UInt64

        mutating func next() -> UInt64 {
            state &+= 0x9e37_79b9_7f4a_7c15
            var mixed = state
            mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
            mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
            return mixed ^ (mixed >> 31)
        }
    }
}

/// What a tree should hold.
struct SortedModel {
    var items: [TreeItem] = []

    /// The first index at or above a key.
    func index(_ key: Key) -> Int {
        var low = 0
        var high = items.count
        while low < high {
            let middle = (low + high) / 2
            if items[middle].key < key { low = middle + 1 } else { high = middle }
        }
        return low
    }

    func has(_ key: Key) -> Bool {
        let index = index(key)
        return index < items.count && items[index].key == key
    }

    /// Indices of the items from `low` through `high`.
    func range(_ low: Key, _ high: Key) -> Range<Int> {
        let start = index(low)
        var end = index(high)
        if end < items.count && items[end].key == high { end += 1 }
        return start..<max(start, end)
    }
}

struct TreePlayer {
    static let nodeSizes = [4096, 8192, 16384, 32768, 65536]
    /// A type that no check knows, so that items may hold anything.
    static let plain = KeyType(rawValue: 1)

    /// How large items are, and how keys are chosen.
    enum Items: CaseIterable {
        /// Many a leaf.
        case small
        /// From nothing to the most that fits.
        case mixed
        /// One to three a leaf: high trees.
        case large
        /// Small, in ascending runs that start anywhere.
        case runs
    }

    let space: MemorySpace
    let tree: Tree
    let kind: Items
    var model = SortedModel()
    var random: Replay.Random
    var step = 0
    var failures = 0
    /// Of 10 steps, how many insert: changes, so that the tree grows and shrinks.
    var inserting = 7
    var runKey = Key.min
    let note: String

    init(nodeSize: Int, _ kind: Items, seed: UInt64) throws {
        space = MemorySpace(nodeSize: nodeSize)
        tree = try Tree(creating: 7, in: space)
        self.kind = kind
        random = Replay.Random(state: seed &+ UInt64(nodeSize) &* 31)
        note = "BG_SEED=\(seed) nodeSize \(nodeSize) \(kind)"
    }

    mutating func below(_ limit: Int) -> Int { Int.random(in: 0..<limit, using: &random) }

    mutating func anyKey() -> Key {
        if kind == .runs {
            if below(40) == 0 { runKey = Key(UInt64(below(1 << 20)), Self.plain, 0) }
            runKey = Key(runKey.objectid, Self.plain, runKey.offset + 1 + UInt64(below(2)))
            return runKey
        }
        return Key(UInt64(below(300)), KeyType(rawValue: UInt8(1 + below(2))), UInt64(below(200)))
    }

    /// One that is there, mostly.
    mutating func oldKey() -> Key {
        guard !model.items.isEmpty, below(20) > 0 else { return anyKey() }
        return model.items[below(model.items.count)].key
    }

    mutating func data() -> [UInt8] {
        let most = tree.itemBytesMax
        let count =
            switch kind {
            case .small, .runs: below(90)
            case .mixed: below(8) > 0 ? below(most / 16) : below(4) > 0 ? below(most) : most
            case .large: most / 3 + below(most - most / 3) + 1
            }
        var data = [UInt8](repeating: UInt8(truncatingIfNeeded: random.next()), count: count)
        // Not all alike, so that data that went astray by some bytes is noticed.
        for place in stride(from: 0, to: count, by: 1 + count / 16) {
            data[place] = UInt8(place & 255)
        }
        return data
    }

    // MARK: changes

    /// Plays `body`; then the tree must hold what `model` holds with `change` applied, or, when
    /// `body` failed for want of space, without.
    mutating func play(
        _ change: (inout SortedModel) -> Void,
        _ body: () throws(FilesystemError) -> Void
    ) throws {
        do throws(FilesystemError) {
            try body()
            change(&model)
        } catch {
            guard error.code == .noSpace || error.code == .io else { throw error }
            failures += 1
            space.callsUntilNoSpace = nil
            space.callsUntilIO = nil
            try compare()
        }
    }

    mutating func insert() throws {
        let key = anyKey()
        let data = data()
        let tree = tree
        if model.has(key) {
            expectError(.exists) { () throws(FilesystemError) in try tree.insert(key, data) }
            return
        }
        try play({ $0.items.insert(TreeItem(key: key, data: data), at: $0.index(key)) }) {
            () throws(FilesystemError) in try tree.insert(key, data)
        }
    }

    mutating func replace() throws {
        let key = oldKey()
        let data = data()
        let tree = tree
        guard model.has(key) else {
            expectError(.notFound) { () throws(FilesystemError) in try tree.replace(key, data) }
            return
        }
        try play({ $0.items[$0.index(key)].data = data }) {
            () throws(FilesystemError) in try tree.replace(key, data)
        }
    }

    mutating func change() throws {
        let key = oldKey()
        let byte = UInt8(truncatingIfNeeded: random.next())
        let tree = tree
        let change = { () throws(FilesystemError) in
            try tree.change(key) { (data: inout MutableRawSpan) throws(FilesystemError) in
                guard data.byteCount > 0 else { return }
                data.storeBytes(of: byte, toByteOffset: data.byteCount / 2, as: UInt8.self)
            }
        }
        guard model.has(key) else {
            expectError(.notFound, change)
            return
        }
        try play(
            {
                let index = $0.index(key)
                guard !$0.items[index].data.isEmpty else { return }
                $0.items[index].data[$0.items[index].data.count / 2] = byte
            },
            change
        )
    }

    mutating func remove() throws {
        let key = oldKey()
        let tree = tree
        guard model.has(key) else {
            expectError(.notFound) { () throws(FilesystemError) in try tree.remove(key) }
            return
        }
        try play({ $0.items.remove(at: $0.index(key)) }) {
            () throws(FilesystemError) in try tree.remove(key)
        }
    }

    mutating func removeRange() throws {
        let low = oldKey()
        let reach = below(10) == 0 ? model.items.count : 60
        let high =
            model.items.isEmpty
            ? low : model.items[min(model.index(low) + below(reach), model.items.count - 1)].key
        let range = model.range(low, high)
        do throws(FilesystemError) {
            let count = try tree.removeAll(from: low, through: high)
            #expect(count == range.count, "\(note) step \(step)")
            model.items.removeSubrange(range)
        } catch {
            guard error.code == .noSpace || error.code == .io else { throw error }
            failures += 1
            space.callsUntilNoSpace = nil
            space.callsUntilIO = nil
            // What is gone is the front of the range.
            let held = try space.check(tree, allowSingleChildRoot: true).items.count
            let gone = model.items.count - held
            #expect((0...range.count).contains(gone), "\(note) step \(step)")
            model.items.removeSubrange(range.lowerBound..<(range.lowerBound + gone))
            try compare()
        }
    }

    func expectError(
        _ code: FilesystemError.Code,
        _ body: () throws(FilesystemError) -> Void
    ) {
        do throws(FilesystemError) {
            try body()
            Issue.record("\(note) step \(step): not refused with \(code)")
        } catch {
            #expect(
                error.code == code || error.code == .io || error.code == .noSpace,
                "\(note) step \(step): \(error.message)"
            )
        }
    }

    // MARK: reading

    mutating func read() throws {
        let key = below(2) == 0 ? oldKey() : anyKey()
        let index = model.index(key)
        let has = model.has(key)
        #expect(try tree.item(key) == (has ? model.items[index].data : nil), "\(note) step \(step)")
        let length = try tree.withItem(key) { (data) throws(FilesystemError) in data.byteCount }
        #expect(length == (has ? model.items[index].data.count : nil))
        let first = index < model.items.count ? model.items[index] : nil
        #expect(try tree.first(atOrAbove: key) == first, "\(note) step \(step)")
        let last = has ? model.items[index] : index > 0 ? model.items[index - 1] : nil
        #expect(try tree.last(atOrBelow: key) == last, "\(note) step \(step)")
    }

    mutating func walk() throws {
        let low = oldKey()
        let high = oldKey()
        let range = model.range(low, high)
        let most = below(100)
        var found: [TreeItem] = []
        try tree.forEach(from: low, through: high) { (key, data) throws(FilesystemError) in
            found.append(TreeItem(key: key, data: (0..<data.byteCount).map { data.u8(at: $0) }))
            return found.count < most
        }
        #expect(found == Array(model.items[range].prefix(max(most, 1))), "\(note) step \(step)")
    }

    /// Every block, every item.
    func compare() throws {
        let shape = try space.check(tree, allowSingleChildRoot: failures > 0)
        #expect(shape.items == model.items, "\(note) step \(step)")
    }

    mutating func play(steps: Int, failing: Bool) throws {
        while step < steps {
            step += 1
            if step % 400 == 0 { inserting = [9, 7, 5, 3, 1][below(5)] }
            if failing && below(3) > 0 {
                space.callsUntilNoSpace = below(4)
            } else if failing && below(20) == 0 {
                space.callsUntilIO = below(4)
            }
            if below(10) < inserting {
                try insert()
            } else {
                switch below(12) {
                case 0: try removeRange()
                case 1...6: try remove()
                case 7...9: try replace()
                default: try change()
                }
            }
            space.callsUntilNoSpace = nil
            space.callsUntilIO = nil
            if below(8) == 0 { try read() }
            if below(50) == 0 { try walk() }
            if below(250) == 0 { try compare() }
            if below(failing ? 4 : 300) == 0 { space.commit() }
        }
        space.commit()
        try compare()
    }

    /// Two levels at least, before the steps.
    mutating func fill() throws {
        while tree.root.level == 0 { try insert() }
        space.commit()
    }

    mutating func empty() throws {
        while !model.items.isEmpty { try remove() }
        try compare()
        #expect(tree.root.level == 0)
        #expect(space.live.count == 1)
    }
}
