//===-- Results.swift - from Swift's errors to a C caller's errno --------------------------------===//
// Every entry point checks its pointers, borrows the handle, calls, and translates here. What went
// wrong is kept in words for bg_strerror().

import BGAllocation
import BGDiskFormat
import BlockGroups
import CBlockGroups

/// An argument that no handle could make sense of.
func refuseArgument(_ what: StaticString) -> CInt {
    ErrorText.set { $0.append(what) }
    return AllocationError(.invalidArgument).returnCode
}

/// The commonest of them.
func refuseNull() -> CInt { refuseArgument("a pointer is NULL") }

/// For options that are no ClaimRequest.
func refuseOptions() -> CInt {
    refuseArgument("bg_claim_options::size is wrong, or reserved is not 0")
}

func refuseLength() -> CInt { refuseArgument("a pointer is NULL, or the length is absurd") }

/// A caller's buffer; nil: it is NULL but not empty, or the length is absurd.
func bytes(_ start: UnsafeRawPointer?, _ length: Int) -> UnsafeRawBufferPointer? {
    guard unsafe start != nil || length == 0, length >= 0 else { return nil }
    return unsafe UnsafeRawBufferPointer(start: start, count: length)
}

/// The same for one that is to be filled.
func bytes(_ start: UnsafeMutableRawPointer?, _ length: Int) -> UnsafeMutableRawBufferPointer? {
    guard unsafe start != nil || length == 0, length >= 0 else { return nil }
    return unsafe UnsafeMutableRawBufferPointer(start: start, count: length)
}

/// A caller's paths of devices; nil: one is NULL.
func strings(_ paths: UnsafePointer<UnsafePointer<CChar>?>, _ count: Int) -> [String]? {
    var strings: [String] = []
    for index in 0..<count {
        guard let path = unsafe paths[index] else { return nil }
        unsafe strings.append(String(cString: path))
    }
    return strings
}

/// Passes 0 or a negative errno on, with its words kept.
@inline(__always)
func returnCode(_ result: CInt) -> CInt {
    if result < 0 { keepText(AllocationError(result: result)) }
    return result
}

/// Runs a body that throws an allocator's error.
@inline(__always)
func returnCode(_ body: () throws(AllocationError) -> Void) -> CInt {
    do throws(AllocationError) {
        try body()
        return 0
    } catch {
        keepText(error)
        return error.returnCode
    }
}

/// Runs a body that may have to learn the free space of `group`, or of any with `flags`; what kept it
/// from that is told in the words of whoever read it.
@inline(__always)
func returnCode(
    _ allocator: Allocator,
    _ group: GroupReference? = nil,
    flags: BlockGroupFlags = [],
    _ body: () throws(AllocationError) -> Void
) -> CInt {
    do throws(AllocationError) {
        try body()
        return 0
    } catch {
        keepText(error, allocator, group, flags)
        return error.returnCode
    }
}

/// Runs a body that throws a file system's error.
func filesystemReturnCode(_ body: () throws(FilesystemError) -> Void) -> CInt {
    do throws(FilesystemError) {
        try body()
        return 0
    } catch {
        var bytes: [UInt8] = []
        error.append(to: &bytes)
        ErrorText.set { for byte in bytes { $0.append(byte: byte) } }
        return -error.errno
    }
}

private func keepText(_ error: AllocationError) {
    ErrorText.set { $0.append(error.text) }
}

@inline(never)
private func keepText(
    _ error: AllocationError,
    _ allocator: Allocator,
    _ group: GroupReference?,
    _ flags: BlockGroupFlags
) {
    switch error.code {
    case .noSpace, .invalidArgument, .readOnly: return keepText(error)
    default: break
    }
    var isKnown = false
    ErrorText.set { isKnown = allocator.appendCacheFailure(of: group, flags, error, to: &$0) }
    if !isKnown { keepText(error) }
}

extension AllocationError {
    var returnCode: CInt { -errno }
}

@c @implementation
public func bg_strerror(_ fs: OpaquePointer?) -> UnsafePointer<CChar>? {
    unsafe ErrorText.pointer
}
