//===-- TreeBlock+Editing.swift - changing the bytes of one node or leaf ------------------------===//
// New blocks, copies of blocks, and inserting, removing, resizing and moving their entries. A leaf's
// data stays packed against the end of the block, item 0 last, without a hole, after every call.
//
// Only for blocks that the running transaction made. Every function here is told slots and sizes
// that fit; anything else is our own mistake and stops. Parents' keys are the trees' affair.
//
// Not here: which entries should go where (Writing/).
//===-------------------------------------------------------------------------------------------===//

package import BGDiskFormat

extension TreeBlock {
    /// The flags of every block we write: written, back reference revision 1.
    private static let headerFlags: UInt64 = 1 | 1 << 56

    /// A new block without entries, its header filled in but for the checksum.
    ///
    /// - Parameter logical: where it will be written.
    package convenience init(
        empty logical: UInt64,
        level: UInt8,
        owner: UInt64,
        generation: UInt64,
        geometry: TreeGeometry,
        chunkTreeUUID: FilesystemUUID
    ) {
        self.init(logical: logical, bytes: [UInt8](repeating: 0, count: geometry.nodeSize))
        bytes.edit { view in
            view.store(geometry.metadataUUID, at: 32)
            view.store(chunkTreeUUID, at: 64)
            view.store(level, at: 100)
        }
        stamp(owner: owner, generation: generation)
    }

    /// A copy of a block at another address, of another generation: what copy-on-write makes.
    package convenience init(
        copying block: TreeBlock,
        to logical: UInt64,
        owner: UInt64,
        generation: UInt64
    ) {
        self.init(logical: logical, bytes: block.bytes)
        slotInsertedLast = block.slotInsertedLast
        stamp(owner: owner, generation: generation)
    }

    private func stamp(owner: UInt64, generation: UInt64) {
        let logical = logical
        bytes.edit { view in
            view.store(logical, at: 48)
            view.store(Self.headerFlags, at: 56)
            view.store(generation, at: 80)
            view.store(owner, at: 88)
        }
    }

    // MARK: room

    /// Pointers that a node can have.
    package var pointersMax: Int { dataSize / Layout.pointerSize }

    /// First byte of the lowest item's data, in `bytes`: where a leaf's free room ends.
    private var dataStart: Int { dataStart(before: itemCount) }

    /// First byte of the data of items 0..<`slot`, in `bytes`.
    private func dataStart(before slot: Int) -> Int {
        slot == 0 ? bytes.count : itemRange(slot - 1).lowerBound
    }

    /// Bytes of a leaf that the first `count` items take: their entries and their data.
    func bytesUsed(first count: Int) -> Int {
        count * Layout.itemSize + bytes.count - dataStart(before: count)
    }

    /// Bytes of a leaf that all items take, and that none does.
    package var bytesUsed: Int { bytesUsed(first: itemCount) }
    package var bytesFree: Int { dataSize - bytesUsed }

    /// The bytes that hold no header, entry or data; what they hold means nothing. A commit writes
    /// zeros there.
    package var unusedRange: Range<Int> {
        entryOffset(itemCount)..<(isLeaf ? dataStart : bytes.count)
    }

    // MARK: entries of both kinds

    /// Changes the key of an entry; order is the caller's affair.
    func setKey(_ slot: Int, _ key: Key) {
        precondition(slot < itemCount)
        let at = entryOffset(slot)
        bytes.edit { view in view.store(key, at: at) }
    }

    private var entrySize: Int { isLeaf ? Layout.itemSize : Layout.pointerSize }

    private func setItemCount(_ count: Int) {
        bytes.edit { view in view.store(UInt32(count), at: 96) }
    }

    /// Makes room for `count` entries before `slot`; they hold nothing yet.
    private func openEntries(at slot: Int, count: Int) {
        let start = entryOffset(slot)
        let end = entryOffset(itemCount)
        bytes.move(start..<end, to: start + count * entrySize)
        setItemCount(itemCount + count)
    }

    private func closeEntries(_ range: Range<Int>) {
        let start = entryOffset(range.upperBound)
        let end = entryOffset(itemCount)
        bytes.move(start..<end, to: entryOffset(range.lowerBound))
        setItemCount(itemCount - range.count)
    }

    // MARK: pointers of a node

    func insertPointer(_ slot: Int, _ key: Key, to child: TreeBlock) {
        precondition(!isLeaf && slot <= itemCount && itemCount < pointersMax)
        openEntries(at: slot, count: 1)
        setKey(slot, key)
        setChild(slot, child)
    }

    /// Points an entry at another block; its key stays.
    func setChild(_ slot: Int, _ child: TreeBlock) {
        precondition(!isLeaf && slot < itemCount)
        let at = entryOffset(slot)
        let logical = child.logical
        let generation = child.generation
        bytes.edit { view in
            view.store(logical, at: at + 17)
            view.store(generation, at: at + 25)
        }
    }

    func removePointers(_ range: Range<Int>) {
        precondition(!isLeaf && range.upperBound <= itemCount)
        closeEntries(range)
    }

    /// Moves pointers to before `slot` of another node.
    func movePointers(_ range: Range<Int>, to other: TreeBlock, at slot: Int) {
        precondition(!isLeaf && other !== self && other.level == level)
        precondition(range.upperBound <= itemCount && slot <= other.itemCount)
        precondition(other.itemCount + range.count <= other.pointersMax)
        other.openEntries(at: slot, count: range.count)
        other.bytes.copy(
            entryOffset(range.lowerBound)..<entryOffset(range.upperBound),
            of: bytes,
            to: other.entryOffset(slot)
        )
        closeEntries(range)
    }

    // MARK: items of a leaf

    /// Inserts an item before `slot`.
    func insertItem(_ slot: Int, _ key: Key, _ data: [UInt8]) {
        precondition(isLeaf && slot <= itemCount)
        precondition(data.count + Layout.itemSize <= bytesFree)
        openData(at: slot, count: data.count)
        let end = dataStart(before: slot)
        openEntries(at: slot, count: 1)
        let at = entryOffset(slot)
        bytes.edit { view in
            view.store(key, at: at)
            view.store(UInt32(end - data.count - Layout.headerSize), at: at + 17)
            view.store(UInt32(data.count), at: at + 21)
        }
        bytes.copy(data.indices, of: data, to: end - data.count)
        slotInsertedLast = slot
    }

    /// Replaces the data of an item.
    func replaceItem(_ slot: Int, _ data: [UInt8]) {
        precondition(isLeaf && slot < itemCount)
        let old = itemRange(slot)
        precondition(data.count - old.count <= bytesFree)
        if data.count != old.count {
            openData(at: slot + 1, count: data.count - old.count)
            let at = entryOffset(slot)
            bytes.edit { view in
                let start = old.upperBound - data.count - Layout.headerSize
                view.store(UInt32(start), at: at + 17)
                view.store(UInt32(data.count), at: at + 21)
            }
        }
        bytes.copy(data.indices, of: data, to: old.upperBound - data.count)
    }

    /// Calls `body` with the data of item `slot`, to be changed where it is.
    func changeItem(
        _ slot: Int,
        _ body: (inout MutableRawSpan) throws(FilesystemError) -> Void
    ) throws(FilesystemError) {
        precondition(isLeaf && slot < itemCount)
        try bytes.edit(itemRange(slot), body)
    }

    func removeItems(_ range: Range<Int>) {
        precondition(isLeaf && range.upperBound <= itemCount)
        guard !range.isEmpty else { return }
        let length = dataStart(before: range.lowerBound) - dataStart(before: range.upperBound)
        openData(at: range.upperBound, count: -length)
        closeEntries(range)
        slotInsertedLast = -1
    }

    /// Moves items, and their data, to before `slot` of another leaf.
    func moveItems(_ range: Range<Int>, to other: TreeBlock, at slot: Int) {
        precondition(isLeaf && other.isLeaf && other !== self)
        precondition(range.upperBound <= itemCount && slot <= other.itemCount)
        guard !range.isEmpty else { return }
        let start = dataStart(before: range.upperBound)
        let end = dataStart(before: range.lowerBound)
        precondition(range.count * Layout.itemSize + end - start <= other.bytesFree)
        other.openData(at: slot, count: end - start)
        let otherEnd = other.dataStart(before: slot)
        other.openEntries(at: slot, count: range.count)
        other.bytes.copy(
            entryOffset(range.lowerBound)..<entryOffset(range.upperBound),
            of: bytes,
            to: other.entryOffset(slot)
        )
        other.bytes.copy(start..<end, of: bytes, to: otherEnd - (end - start))
        other.addToOffsets(slot..<(slot + range.count), otherEnd - end)
        other.slotInsertedLast = -1
        removeItems(range)
    }

    /// Moves the data of the items from `slot` on towards the front of the block by `count` bytes
    /// (negative: towards its end), so that a gap opens, or closes, before item `slot - 1`'s data.
    private func openData(at slot: Int, count: Int) {
        guard slot < itemCount, count != 0 else { return }
        let range = dataStart..<dataStart(before: slot)
        bytes.move(range, to: range.lowerBound - count)
        addToOffsets(slot..<itemCount, -count)
    }

    private func addToOffsets(_ slots: Range<Int>, _ count: Int) {
        bytes.edit { view in
            for slot in slots {
                let at = Layout.headerSize + slot * Layout.itemSize + 17
                view.store(UInt32(Int(view.bytes.u32(at: at)) + count), at: at)
            }
        }
    }
}

/// The only places where a block's bytes are written. Ranges outside the array stop.
extension [UInt8] {
    @inline(__always)
    fileprivate mutating func edit(_ body: (inout MutableRawSpan) -> Void) {
        var numbers = mutableSpan
        var view = unsafe numbers.mutableBytes
        body(&view)
    }

    fileprivate mutating func edit(
        _ range: Range<Int>,
        _ body: (inout MutableRawSpan) throws(FilesystemError) -> Void
    ) throws(FilesystemError) {
        var numbers = mutableSpan
        var view = unsafe numbers.mutableBytes
        var part = view._mutatingExtracting(range)
        try body(&part)
    }

    /// Moves bytes inside the array; the old and the new place may overlap.
    fileprivate mutating func move(_ range: Range<Int>, to start: Int) {
        precondition(range.lowerBound >= 0 && range.upperBound <= count)
        precondition(start >= 0 && start + range.count <= count)
        guard !range.isEmpty else { return }
        unsafe withUnsafeMutableBytes { buffer in
            let base = buffer.baseAddress!
            unsafe (base + start).copyMemory(from: base + range.lowerBound, byteCount: range.count)
        }
    }

    /// Copies bytes of another array.
    fileprivate mutating func copy(_ range: Range<Int>, of other: [UInt8], to start: Int) {
        precondition(range.lowerBound >= 0 && range.upperBound <= other.count)
        precondition(start >= 0 && start + range.count <= count)
        guard !range.isEmpty else { return }
        unsafe withUnsafeMutableBytes { buffer in
            unsafe other.withUnsafeBytes { source in
                unsafe (buffer.baseAddress! + start).copyMemory(
                    from: source.baseAddress! + range.lowerBound,
                    byteCount: range.count
                )
            }
        }
    }
}
