// The search runs in a worker, and browsers start none from a file: on pages opened from disk a hidden frame does its work.
if (location.protocol === "file:") {
  window.Worker = class {
    constructor(url) {
      this.frame = document.createElement("iframe");
      this.frame.hidden = true;
      document.body.append(this.frame);
      const inside = this.frame.contentWindow;
      inside.postMessage = (data) => setTimeout(() => this.onmessage?.({ data }));
      const script = inside.document.createElement("script");
      this.ready = new Promise((done, fail) => {
        script.onload = done;
        script.onerror = fail;
      });
      script.src = url;
      inside.document.head.append(script);
      this.ready.catch((event) => this.onerror?.(event));
    }

    postMessage(data) {
      this.ready.then(() => this.frame.contentWindow.onmessage?.({ data }), () => {});
    }

    terminate() {
      this.frame.remove();
    }
  };
}
