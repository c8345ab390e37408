//===-- Coverage.swift - a block group as a row of cells ------------------------------------------===//
// Pictures have far fewer cells than a group has runs: each cell gets the bytes that are free in it,
// so that however fragmented a group is, its picture costs the same.
//
// Invariants: the cells' free bytes add up to the group's; each cell's are at most its length.

import BGDevices
import BlockGroups

/// How full each of equally long parts of a group is.
struct Coverage {
    let length: UInt64
    /// Free bytes of each cell.
    private(set) var free: [UInt64]
    /// Cells in which a copy of the super block begins or goes on.
    private(set) var hasSuperBlock: [Bool]

    var count: Int { free.count }

    init(_ group: ImageGroup, cells: Int) {
        length = group.length
        // No cell may be empty of bytes, however small the group.
        let count = max(1, min(cells, Int(clamping: group.length)))
        free = [UInt64](repeating: 0, count: count)
        hasSuperBlock = [Bool](repeating: false, count: count)
        group.forEachFree { add($0 - group.logical, $1) }
        for copy in group.record.superBlockCopies {
            let first = cell(of: copy.logical - group.logical)
            let last = cell(of: copy.end - 1 - group.logical)
            for index in first...last { hasSuperBlock[index] = true }
        }
    }

    /// First byte of a cell; of the cell behind the last one, the end.
    private func start(of cell: Int) -> UInt64 {
        let (high, low) = length.multipliedFullWidth(by: UInt64(cell))
        return UInt64(count).dividingFullWidth((high, low)).quotient
    }

    /// The cell that holds a byte.
    private func cell(of offset: UInt64) -> Int {
        let (high, low) = offset.multipliedFullWidth(by: UInt64(count))
        var cell = Int(length.dividingFullWidth((high, low)).quotient)
        // Rounding may put a byte at a border one cell off.
        while cell + 1 < count, start(of: cell + 1) <= offset { cell += 1 }
        while cell > 0, start(of: cell) > offset { cell -= 1 }
        return cell
    }

    private mutating func add(_ offset: UInt64, _ bytes: UInt64) {
        var at = offset
        let end = offset + bytes
        var index = cell(of: at)
        // Ends: a cell each time, and `index` never passes the last one.
        while at < end, index < count {
            let border = min(start(of: index + 1), end)
            free[index] += border - at
            at = border
            index += 1
        }
    }

    /// Bytes of a cell.
    func bytes(of cell: Int) -> UInt64 { start(of: cell + 1) - start(of: cell) }

    /// Used share of a cell in `steps` steps: 0 only when all of it is free, `steps` only when
    /// nothing is.
    func level(of cell: Int, steps: Int) -> Int {
        let whole = bytes(of: cell)
        let used = whole - min(whole, free[cell])
        if used == 0 { return 0 }
        if used == whole { return steps }
        let level = Int((Double(used) / Double(whole) * Double(steps)).rounded())
        return min(max(level, 1), steps - 1)
    }
}

/// What a group is for, as pictures colour it.
enum GroupKind: CaseIterable {
    case data
    case metadata
    case system
    case mixed

    init(_ flags: BlockGroupFlags) {
        if flags.contains(.data) {
            self = flags.contains(.metadata) ? .mixed : .data
        } else {
            self = flags.contains(.system) ? .system : .metadata
        }
    }

    var name: String {
        switch self {
        case .data: "data"
        case .metadata: "metadata"
        case .system: "system"
        case .mixed: "data and metadata"
        }
    }
}

extension Image {
    /// The kinds of groups that there are, in their usual order.
    var kinds: [GroupKind] {
        GroupKind.allCases.filter { kind in groups.contains { GroupKind($0.group.flags) == kind } }
    }
}
