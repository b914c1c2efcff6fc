// Who an avatar is: a face of the gallery, one of one's own design, or a picture.
(() => {
  "use strict";

  class Faces {
    constructor(root, tell) {
      this.tell = tell;
      for (const name of ["faces", "designer", "portrait"]) this[name] = root.querySelector(`[data-lt=${name}]`);
      this.portrait.onchange = () => {
        const [file] = this.portrait.files;
        this.portrait.value = ""; // so that the same file can be chosen again
        if (file) this.upload(file);
      };
    }

    show({ gallery, attributes }, size, base) { // what the server knows, and the size in which an avatar is drawn
      Object.assign(this, { gallery, base, size: size.split("x").map(Number), look: { face: gallery[0] } });
      this.draw();
      this.designer.replaceChildren(...Object.entries(attributes).map(([name, values]) => {
        const label = document.createElement("label"), select = document.createElement("select");
        label.append(name.replace("_", " "), select);
        select.append(...values.map((v) => new Option(v, v)));
        select.onchange = () => this.design();
        select.name = name;
        return label;
      }));
    }

    draw(own) {
      const buttons = this.gallery.map((name) => this.button(name, `${this.base}api/faces/${name}`, { face: name }));
      if (own) buttons.push(this.button(...own));
      this.faces.replaceChildren(...buttons);
      this.mark();
    }

    button(title, picture, look) {
      const button = document.createElement("button"), image = document.createElement("img");
      Object.assign(image, { src: picture, alt: title });
      button.append(image);
      Object.assign(button, { title, role: "radio", look });
      button.onclick = () => { this.look = look; this.mark(); };
      return button;
    }

    mark() { for (const b of this.faces.children) b.ariaChecked = String(JSON.stringify(b.look) === JSON.stringify(this.look)); }

    design() {
      const face = [...this.designer.querySelectorAll("select")].map((s) => `${s.name}=${s.value}`).join(",");
      this.look = { face };
      this.draw(["your design", `${this.base}api/faces/${encodeURIComponent(face)}`, this.look]);
    }

    async upload(file) { // it is cropped and scaled here: what a camera makes is a hundred times what is needed
      const [width, height] = this.size, canvas = document.createElement("canvas");
      let picture;
      try { picture = await createImageBitmap(file); } catch { this.tell("this is not a picture that the browser can read", true); return; }
      const scale = Math.max(width / picture.width, height / picture.height), [w, h] = [picture.width * scale, picture.height * scale];
      Object.assign(canvas, { width, height });
      const pen = canvas.getContext("2d");
      pen.imageSmoothingQuality = "high";
      pen.drawImage(picture, (width - w) / 2, (height - h) / 2, w, h);
      const url = canvas.toDataURL("image/png");
      this.look = { portrait: url.split(",")[1] };
      this.draw([file.name, url, this.look]);
    }
  }

  window.longtake = Object.assign(window.longtake || {}, { Faces });
})();
