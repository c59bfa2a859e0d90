//! Batched UDP: many datagrams per call in (recvmmsg, GRO), many out (GSO).
//!
//! One [`Inbox`] is filled by one call; what has to go out of it is collected in an [`Outgoing`]
//! as runs of equally long datagrams to one place and leaves before the next call. Nothing waits
//! for a batch to grow: a batch is what one call found.
//!
//! The only `unsafe` of the relay is here.

use std::io;
use std::mem;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::ops::Range;
use std::os::fd::{AsRawFd, RawFd};

/// Datagrams, or trains of them, taken by one call.
const BATCH: usize = 16;
/// Bytes of one train: the kernel never hands out more than 64 KiB.
const SLOT_LEN: usize = 1 << 16;
/// Room for the one control message that is read: UDP_GRO with an `int`.
const CONTROL_LEN: usize = 64;
/// Segments in one send; the kernel takes 64 and more.
const SEGMENTS_MAX: usize = 64;
/// Bytes in one send: an IP packet holds 65,535 with its headers.
const RUN_LEN_MAX: usize = 65_000;
/// Runs that are open at the same time; when full, all are sent.
const RUNS_MAX: usize = 32;
/// A datagram up to this long is put together before it is sent: that costs less than the kernel's
/// gathering of its pieces.
const WHOLE_LEN_MAX: usize = 2048;

/// What one receive call brought.
pub(crate) struct Inbox {
    bytes: Box<[u8]>,
    /// End of what [`Inbox::put`] has written.
    put: usize,
    names: Box<[libc::sockaddr_storage; BATCH]>,
    controls: Box<[[u64; CONTROL_LEN / 8]; BATCH]>,
    iovecs: Box<[libc::iovec; BATCH]>,
    headers: Box<[libc::mmsghdr; BATCH]>,
    /// Headers the kernel wrote into since they were last set.
    used: usize,
}

/// How much one call asks for. A batch costs a look behind its last datagram, which a socket that
/// brings one datagram at a time pays for nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    /// One train: what brings more is ready again at once.
    One,
    /// All that waits, at most [`BATCH`] trains.
    Batch,
}

/// A train of datagrams from one source, inside the inbox.
#[derive(Clone, Debug)]
pub(crate) struct Train {
    pub(crate) from: SocketAddr,
    pub(crate) range: Range<usize>,
    /// Length of each datagram but the last, which may be shorter.
    pub(crate) segment: usize,
}

impl Train {
    /// Where each datagram lies in the inbox.
    pub(crate) fn segments(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let end = self.range.end;
        let segment = self.segment.max(1);
        self.range
            .clone()
            .step_by(segment)
            .map(move |start| start..end.min(start + segment))
    }
}

// SAFETY: the raw pointers inside point only into boxes owned by the same `Inbox`, which move with
// it and keep their place on the heap.
unsafe impl Send for Inbox {}

impl Inbox {
    pub(crate) fn new() -> Self {
        // SAFETY: all of these are plain C structs for which all-zero bytes are a valid value;
        // every pointer in them is set by `point_at_slots` before the kernel sees it.
        let (names, iovecs, headers) = unsafe { (mem::zeroed(), mem::zeroed(), mem::zeroed()) };
        let mut inbox = Self {
            bytes: vec![0; BATCH * SLOT_LEN].into_boxed_slice(),
            put: 0,
            names: Box::new(names),
            controls: Box::new([[0; CONTROL_LEN / 8]; BATCH]),
            iovecs: Box::new(iovecs),
            headers: Box::new(headers),
            used: BATCH,
        };
        inbox.point_at_slots();
        inbox
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Copies one message of a stream in, behind those put before; `None` when there is no room.
    pub(crate) fn put(&mut self, message: &[u8]) -> Option<Range<usize>> {
        let range = self.put..self.put + message.len();
        self.bytes.get_mut(range.clone())?.copy_from_slice(message);
        self.put = range.end;
        Some(range)
    }

    /// Forgets what was put; nothing that refers to it may be unsent.
    pub(crate) fn reset(&mut self) {
        self.put = 0;
    }

    /// Takes what waits on a socket; `Ok(0)` if nothing does.
    pub(crate) fn receive(&mut self, socket: RawFd, ask: Ask) -> io::Result<usize> {
        self.renew_headers();
        let count = match ask {
            Ask::One => self.receive_one(socket),
            Ask::Batch => self.receive_batch(socket),
        };
        match count {
            Ok(count) => self.used = count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        Ok(self.used)
    }

    fn receive_one(&mut self, socket: RawFd) -> io::Result<usize> {
        let [first, ..] = self.headers.as_mut();
        // SAFETY: as in `receive_batch`, for the first header alone.
        let len = unsafe { libc::recvmsg(socket, &raw mut first.msg_hdr, libc::MSG_DONTWAIT) };
        if len < 0 {
            return Err(io::Error::last_os_error());
        }
        first.msg_len = len as libc::c_uint;
        Ok(1)
    }

    fn receive_batch(&mut self, socket: RawFd) -> io::Result<usize> {
        // SAFETY: every header points at buffers owned by `self` with the lengths given beside
        // them; `self` is borrowed exclusively until the call returns, and the kernel keeps no
        // pointer. The socket is owned by the caller.
        let count = unsafe {
            libc::recvmmsg(
                socket,
                self.headers.as_mut_ptr(),
                BATCH as libc::c_uint,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
            )
        };
        if count < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(count as usize)
    }

    fn point_at_slots(&mut self) {
        let slots = self.bytes.chunks_exact_mut(SLOT_LEN);
        let parts = self.iovecs.iter_mut().zip(slots);
        let parts = parts.zip(self.names.iter_mut().zip(self.controls.iter_mut()));
        for (header, ((iovec, slot), (name, control))) in self.headers.iter_mut().zip(parts) {
            iovec.iov_base = slot.as_mut_ptr().cast();
            iovec.iov_len = slot.len();
            let header = &mut header.msg_hdr;
            header.msg_name = (&raw mut *name).cast();
            header.msg_iov = iovec;
            header.msg_iovlen = 1;
            header.msg_control = control.as_mut_ptr().cast();
        }
    }

    /// The kernel writes the lengths it used over those it was given.
    fn renew_headers(&mut self) {
        for header in self.headers.iter_mut().take(self.used) {
            let header = &mut header.msg_hdr;
            header.msg_namelen = mem::size_of::<libc::sockaddr_storage>() as libc::socklen_t;
            header.msg_controllen = CONTROL_LEN as _;
        }
        self.used = 0;
    }

    /// One of the trains the last call brought; `None` for one that was cut or has no address.
    pub(crate) fn train(&self, index: usize) -> Option<Train> {
        let header = self.headers.get(..self.used)?.get(index)?;
        if header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0 {
            return None;
        }
        let from = decode_address(self.names.get(index)?)?;
        let len = header.msg_len as usize;
        let start = index * SLOT_LEN;
        let segment = gro_segment(&header.msg_hdr).unwrap_or(len);
        Some(Train {
            from,
            range: start..start + len,
            segment,
        })
    }
}

/// The segment size the kernel wrote beside a train, if it is one.
fn gro_segment(header: &libc::msghdr) -> Option<usize> {
    // SAFETY: the header was filled by recvmmsg and points at a control buffer of the length it
    // names; CMSG_FIRSTHDR looks at nothing else.
    let first = unsafe { libc::CMSG_FIRSTHDR(header).as_ref() }?;
    if first.cmsg_level != libc::SOL_UDP || first.cmsg_type != libc::UDP_GRO {
        return None;
    }
    // SAFETY: for UDP_GRO the kernel writes one `int` behind the control header; read unaligned.
    let segment = unsafe {
        libc::CMSG_DATA(first)
            .cast::<libc::c_int>()
            .read_unaligned()
    };
    usize::try_from(segment).ok().filter(|segment| *segment > 0)
}

fn decode_address(name: &libc::sockaddr_storage) -> Option<SocketAddr> {
    match i32::from(name.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says which struct the storage holds, and it is large enough.
            let v4 = unsafe { &*(&raw const *name).cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from_bits(u32::from_be(v4.sin_addr.s_addr));
            Some(SocketAddr::from((ip, u16::from_be(v4.sin_port))))
        }
        libc::AF_INET6 => {
            // SAFETY: as above.
            let v6 = unsafe { &*(&raw const *name).cast::<libc::sockaddr_in6>() };
            let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
            Some(SocketAddr::from((ip, u16::from_be(v6.sin6_port))))
        }
        _ => None,
    }
}

/// A piece of one outgoing datagram's bytes.
#[derive(Clone, Copy)]
struct Part {
    prefix: (u32, u32),
    payload: (u32, u32),
    padding: u32,
}

/// Equally long datagrams from one socket to one place; the last may be shorter.
struct Run {
    socket: RawFd,
    to: SocketAddr,
    segment: usize,
    len: usize,
    closed: bool,
    parts: Vec<Part>,
}

/// What has to leave before the inbox is filled again.
pub(crate) struct Outgoing {
    runs: Vec<Run>,
    open: usize,
    prefixes: Vec<u8>,
    iovecs: Vec<libc::iovec>,
    /// One datagram in one piece.
    whole: Vec<u8>,
    segmentation: Segmentation,
    /// Datagrams the kernel would not take since this was last asked.
    failed: u64,
}

/// Whether the kernel cuts runs into datagrams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Segmentation {
    ByKernel,
    /// Every datagram is one call: an old kernel, or a network card without checksums.
    ByUs,
}

/// One datagram to send, its payload being a range of the inbox.
pub(crate) struct Datagram<'a> {
    pub(crate) socket: RawFd,
    pub(crate) to: SocketAddr,
    pub(crate) prefix: &'a [u8],
    pub(crate) payload: Range<usize>,
    /// Zero bytes behind the payload.
    pub(crate) padding: usize,
}

// SAFETY: the iovecs are filled right before each send and are never read after it.
unsafe impl Send for Outgoing {}

impl Outgoing {
    pub(crate) fn new(segmentation: Segmentation) -> Self {
        Self {
            runs: Vec::new(),
            open: 0,
            prefixes: Vec::new(),
            iovecs: Vec::new(),
            whole: Vec::with_capacity(WHOLE_LEN_MAX),
            segmentation,
            failed: 0,
        }
    }

    /// Adds a datagram; order is kept among those of one socket to one place.
    pub(crate) fn push(&mut self, datagram: &Datagram<'_>, inbox: &[u8]) {
        let len = datagram.prefix.len() + datagram.payload.len() + datagram.padding;
        let start = self.prefixes.len();
        self.prefixes.extend_from_slice(datagram.prefix);
        let part = Part {
            prefix: (start as u32, self.prefixes.len() as u32),
            payload: (datagram.payload.start as u32, datagram.payload.end as u32),
            padding: datagram.padding as u32,
        };
        match self.joinable(datagram, len) {
            Some(at) => self.join(at, part, len),
            None => {
                if self.open == RUNS_MAX {
                    self.send_runs(inbox);
                }
                self.open_run(datagram, part, len);
            }
        }
    }

    /// Sends everything; returns how many datagrams the kernel refused.
    pub(crate) fn flush(&mut self, inbox: &[u8]) -> u64 {
        if self.open > 0 {
            self.send_runs(inbox);
        }
        self.prefixes.clear();
        mem::take(&mut self.failed)
    }

    /// The run that takes this datagram. Runs of one flow leave in the order they were opened, so
    /// only the newest one of the flow may still grow.
    fn joinable(&self, datagram: &Datagram<'_>, len: usize) -> Option<usize> {
        let open = self.runs.get(..self.open).unwrap_or_default();
        let same = |run: &Run| run.socket == datagram.socket && run.to == datagram.to;
        let (at, run) = open.iter().enumerate().rev().find(|(_, run)| same(run))?;
        let fits = !run.closed
            && len <= run.segment
            && run.len + len <= RUN_LEN_MAX
            && run.parts.len() < SEGMENTS_MAX;
        fits.then_some(at)
    }

    fn join(&mut self, at: usize, part: Part, len: usize) {
        if let Some(run) = self.runs.get_mut(at) {
            run.closed = len < run.segment;
            run.len += len;
            run.parts.push(part);
        }
    }

    fn open_run(&mut self, datagram: &Datagram<'_>, part: Part, len: usize) {
        if self.runs.len() == self.open {
            self.runs.push(Run {
                socket: -1,
                to: datagram.to,
                segment: 0,
                len: 0,
                closed: false,
                parts: Vec::with_capacity(SEGMENTS_MAX),
            });
        }
        if let Some(run) = self.runs.get_mut(self.open) {
            run.socket = datagram.socket;
            run.to = datagram.to;
            run.segment = len;
            run.len = len;
            run.closed = len == 0;
            run.parts.clear();
            run.parts.push(part);
            self.open += 1;
        }
    }

    fn send_runs(&mut self, inbox: &[u8]) {
        for at in 0..self.open {
            let Some(run) = self.runs.get(at) else { break };
            let by_kernel = self.segmentation == Segmentation::ByKernel;
            if run.parts.len() > 1 && by_kernel {
                fill_iovecs(&mut self.iovecs, &run.parts, &self.prefixes, inbox);
                match send(run.socket, run.to, &self.iovecs, Some(run.segment)) {
                    Ok(()) => continue,
                    // EIO: this machine cannot; never try again. EINVAL: this run is longer than
                    // the path's MTU allows and has to be cut by IP instead.
                    Err(error) if error.raw_os_error() == Some(libc::EIO) => {
                        self.segmentation = Segmentation::ByUs;
                    }
                    Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {}
                    Err(error) if error.raw_os_error() == Some(libc::EMSGSIZE) => {}
                    Err(_) => {
                        self.failed += run.parts.len() as u64;
                        continue;
                    }
                }
            }
            for part in &run.parts {
                let pieces = pieces(part, &self.prefixes, inbox);
                if send_one(run, pieces, &mut self.whole).is_err() {
                    self.failed += 1;
                }
            }
        }
        self.open = 0;
    }
}

/// Prefix, payload and padding of one datagram.
fn pieces<'a>(part: &Part, prefixes: &'a [u8], inbox: &'a [u8]) -> [&'a [u8]; 3] {
    const ZEROS: [u8; 4] = [0; 4];
    let prefix = prefixes.get(part.prefix.0 as usize..part.prefix.1 as usize);
    let payload = inbox.get(part.payload.0 as usize..part.payload.1 as usize);
    let padding = ZEROS.get(..part.padding as usize);
    [prefix, payload, padding].map(Option::unwrap_or_default)
}

fn fill_iovecs(iovecs: &mut Vec<libc::iovec>, parts: &[Part], prefixes: &[u8], inbox: &[u8]) {
    iovecs.clear();
    for part in parts {
        let pieces = pieces(part, prefixes, inbox);
        let full = pieces.into_iter().filter(|piece| !piece.is_empty());
        iovecs.extend(full.map(iovec));
    }
}

fn iovec(bytes: &[u8]) -> libc::iovec {
    libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    }
}

/// Sends one datagram of a run, put together in `whole` where that is short.
fn send_one(run: &Run, pieces: [&[u8]; 3], whole: &mut Vec<u8>) -> io::Result<()> {
    let [prefix, payload, padding] = pieces;
    if prefix.is_empty() && padding.is_empty() {
        return send_whole(run, payload);
    }
    if prefix.len() + payload.len() + padding.len() > WHOLE_LEN_MAX {
        return send(run.socket, run.to, &pieces.map(iovec), None);
    }
    whole.clear();
    for piece in pieces {
        whole.extend_from_slice(piece);
    }
    send_whole(run, whole)
}

fn send_whole(run: &Run, bytes: &[u8]) -> io::Result<()> {
    let name = socket2::SockAddr::from(run.to);
    // SAFETY: the bytes and the name live until the call returns, their lengths are their own, and
    // the kernel only reads them.
    let sent = unsafe {
        libc::sendto(
            run.socket,
            bytes.as_ptr().cast(),
            bytes.len(),
            libc::MSG_DONTWAIT,
            name.as_ptr().cast(),
            name.len(),
        )
    };
    if sent < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Sends one datagram, or a train of them if `segment` is given.
fn send(
    socket: RawFd,
    to: SocketAddr,
    iovecs: &[libc::iovec],
    segment: Option<usize>,
) -> io::Result<()> {
    let name = socket2::SockAddr::from(to);
    let mut control = [0_u64; CONTROL_LEN / 8];
    // SAFETY: a msghdr of zeros is valid.
    let mut header: libc::msghdr = unsafe { mem::zeroed() };
    header.msg_name = name.as_ptr().cast_mut().cast();
    header.msg_namelen = name.len();
    header.msg_iov = iovecs.as_ptr().cast_mut();
    header.msg_iovlen = iovecs.len() as _;
    if let Some(segment) = segment {
        header.msg_control = control.as_mut_ptr().cast();
        // SAFETY: CMSG_SPACE and CMSG_LEN only compute; the control buffer has room for one
        // `u16` message and is aligned for its header.
        unsafe {
            header.msg_controllen = libc::CMSG_SPACE(2) as _;
            if let Some(message) = libc::CMSG_FIRSTHDR(&raw const header).as_mut() {
                message.cmsg_level = libc::SOL_UDP;
                message.cmsg_type = libc::UDP_SEGMENT;
                message.cmsg_len = libc::CMSG_LEN(2) as _;
                libc::CMSG_DATA(message)
                    .cast::<u16>()
                    .write_unaligned(segment as u16);
            }
        }
    }
    // SAFETY: the header points at `name`, `control` and the iovecs, which live until the call
    // returns; the iovecs point into slices borrowed by the caller of `send_runs`. The kernel only
    // reads them.
    let sent = unsafe { libc::sendmsg(socket, &raw const header, libc::MSG_DONTWAIT) };
    if sent < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Lets a socket hand out trains; an old kernel says no, and single datagrams come.
pub(crate) fn enable_gro(socket: &impl AsRawFd) {
    let on: libc::c_int = 1;
    // SAFETY: the option takes an `int`, whose address and size are given.
    unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_UDP,
            libc::UDP_GRO,
            (&raw const on).cast(),
            mem::size_of::<libc::c_int>() as libc::socklen_t,
        );
    }
}

/// The DF bit of outgoing datagrams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DontFragment {
    Always,
    AsTheKernelLikes,
}

pub(crate) fn set_dont_fragment(socket: &UdpSocket, mode: DontFragment) -> io::Result<()> {
    let v6 = socket.local_addr()?.is_ipv6();
    let (level, option) = match v6 {
        true => (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER),
        false => (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER),
    };
    let value: libc::c_int = match mode {
        DontFragment::Always => libc::IP_PMTUDISC_DO,
        DontFragment::AsTheKernelLikes => libc::IP_PMTUDISC_WANT,
    };
    // SAFETY: the option takes an `int`, whose address and size are given.
    let outcome = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            (&raw const value).cast(),
            mem::size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if outcome < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Tries a train over loopback: what the kernel cannot do at all shows here and not in a session.
pub(crate) fn probe_segmentation() -> Segmentation {
    let probe = || -> io::Result<()> {
        let receiver = UdpSocket::bind("127.0.0.1:0")?;
        let sender = UdpSocket::bind("127.0.0.1:0")?;
        let bytes = [0_u8; 64];
        let iovecs = [iovec(&bytes)];
        send(
            sender.as_raw_fd(),
            receiver.local_addr()?,
            &iovecs,
            Some(32),
        )
    };
    match probe() {
        Ok(()) => Segmentation::ByKernel,
        Err(_) => Segmentation::ByUs,
    }
}

#[cfg(test)]
mod tests;
