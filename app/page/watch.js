// A share link: watch the session whose id ends this page's address.
window.longtake.mount(document.getElementById("player"), { base: "../" }).watch(location.pathname.split("/").pop());
