// What browsers have and TypeScript's own description of them has not yet.

interface Navigator {
  readonly keyboard?: { lock?(codes?: string[]): Promise<void>; unlock?(): void };
  readonly connection?: EventTarget;
}

interface RTCRtpReceiver {
  playoutDelayHint?: number;
  jitterBufferTarget: number | null;
}

interface NegotiatedHeaderExtension {
  uri: string;
  direction: RTCRtpTransceiverDirection;
}

interface RTCRtpTransceiver {
  getHeaderExtensionsToNegotiate?(): NegotiatedHeaderExtension[];
  setHeaderExtensionsToNegotiate?(extensions: NegotiatedHeaderExtension[]): void;
}

interface RTCDtlsTransport {
  readonly iceTransport: RTCIceTransport;
}
