//===-- SectorModel.swift - the allocator as a plain array, to compare with ----------------------===//
// One byte a sector. Slow and obvious; what it answers is what the contract says, for one thread.

import BGAllocation
import Testing

enum Owner: UInt8 {
    /// Not the group's to hand out: never added, or removed.
    case nobody
    case free
    case claimed
}

struct ModelGroup {
    let first: Int
    let flags: BlockGroupFlags
    var owners: [Owner]
    var isReadOnly = false

    var end: Int { first + owners.count }

    func count(_ owner: Owner) -> Int {
        var count = 0
        for one in owners where one == owner { count += 1 }
        return count
    }

    /// Free runs, absolute sectors.
    var runs: [Range<Int>] {
        var found: [Range<Int>] = []
        var start = -1
        for index in owners.indices {
            if owners[index] == .free {
                if start < 0 { start = index }
            } else if start >= 0 {
                found.append(first + start..<first + index)
                start = -1
            }
        }
        if start >= 0 { found.append(first + start..<end) }
        return found
    }

    func all(_ range: Range<Int>, are owner: Owner) -> Bool {
        for index in range where owners[index - first] != owner { return false }
        return true
    }

    func any(_ range: Range<Int>, is owner: Owner) -> Bool {
        for index in range where owners[index - first] == owner { return true }
        return false
    }

    mutating func set(_ range: Range<Int>, _ owner: Owner) {
        for index in range { owners[index - first] = owner }
    }

    /// What find_space_for_alloc takes: the tightest run, or with a start the first at or above it.
    func place(_ length: Int, empty: Int, alignment: Int, start: Int) -> Int? {
        let need = length + empty
        var best: (start: Int, length: Int)?
        for run in runs {
            let from = max(run.lowerBound, start)
            let aligned = (from + alignment - 1) / alignment * alignment
            guard run.upperBound - from >= need, aligned + length <= run.upperBound else {
                continue
            }
            if start > first { return aligned }
            if best == nil || run.count < best!.length { best = (aligned, run.count) }
        }
        return best?.start
    }

    /// Whether some `length` sectors are free inside bounds and outside an exclusion.
    func hasRoom(_ length: Int, _ wish: ModelWish) -> Bool {
        for run in runs {
            for part in wish.parts(of: run) {
                let aligned =
                    (part.lowerBound + wish.alignment - 1) / wish.alignment * wish.alignment
                if aligned + length <= part.upperBound { return true }
            }
        }
        return false
    }
}

/// A claim in sectors.
struct ModelWish {
    var flags: BlockGroupFlags
    var length: Int
    var lengthMin: Int
    var empty = 0
    var alignment = 1
    var hint: Int?
    var start = 0
    var end: Int?
    var exclude: Range<Int>?

    var request: ClaimRequest {
        var request = ClaimRequest(length: UInt64(length) * sector, flags: flags)
        request.lengthMin = lengthMin == length ? 0 : UInt64(lengthMin) * sector
        request.emptySize = UInt64(empty) * sector
        request.alignment = alignment == 1 ? 0 : UInt64(alignment) * sector
        request.hint = hint.map { UInt64($0) * sector }
        request.searchStart = UInt64(start) * sector
        request.searchEnd = end.map { UInt64($0) * sector } ?? 0
        if let exclude {
            request.excludeStart = UInt64(exclude.lowerBound) * sector
            request.excludeLength = UInt64(exclude.count) * sector
        }
        return request
    }

    /// The parts of a run that the claim may lie in.
    func parts(of run: Range<Int>) -> [Range<Int>] {
        let low = max(run.lowerBound, start)
        let high = min(run.upperBound, end ?? Int.max)
        guard low < high else { return [] }
        guard let exclude, exclude.lowerBound < high, exclude.upperBound > low else {
            return [low..<high]
        }
        var parts: [Range<Int>] = []
        if low < exclude.lowerBound { parts.append(low..<exclude.lowerBound) }
        if exclude.upperBound < high { parts.append(exclude.upperBound..<high) }
        return parts
    }

    /// Lengths in the order in which they are tried.
    var lengths: [Int] {
        var found = [length]
        while found.last! > lengthMin { found.append(max(found.last! / 2, lengthMin)) }
        return found
    }
}

struct SectorModel {
    var groups: [ModelGroup] = []

    func matches(_ group: ModelGroup, _ flags: BlockGroupFlags) -> Bool {
        let wanted = flags.subtracting(.availSingle)
        return group.flags.isSuperset(of: wanted)
            && (!flags.contains(.availSingle) || group.flags.isDisjoint(with: .profiles))
    }

    /// The length that a claim must come back with; nil: no space.
    func lengthServed(_ wish: ModelWish) -> Int? {
        let candidates = groups.filter { matches($0, wish.flags) && !$0.isReadOnly }
        return wish.lengths.first { length in candidates.contains { $0.hasRoom(length, wish) } }
    }

    /// Checks a claim that was served, and takes it.
    mutating func take(_ extent: Extent, _ wish: ModelWish, _ note: @autoclosure () -> String) {
        let range = Int(extent.logical / sector)..<Int((extent.logical + extent.length) / sector)
        guard
            let index = groups.firstIndex(where: {
                $0.first <= range.lowerBound && range.upperBound <= $0.end
            })
        else {
            Issue.record("claimed \(range), which is in no group: \(note())")
            return
        }
        #expect(groups[index].all(range, are: .free), "\(range) was not free: \(note())")
        #expect(matches(groups[index], wish.flags), "wrong type: \(note())")
        #expect(!groups[index].isReadOnly, "read-only: \(note())")
        #expect(range.lowerBound % wish.alignment == 0, "not aligned: \(note())")
        #expect(wish.parts(of: range) == [range], "\(range) is out of bounds: \(note())")
        groups[index].set(range, .claimed)
    }
}
